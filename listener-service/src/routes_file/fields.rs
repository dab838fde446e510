//! One table of the file, read field by field, so that one mistake does not hide the next.

use std::borrow::Cow;

use serde::{Deserialize, de::IntoDeserializer as _};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::mistake::Mistake;

/// serde speaks of the types of Rust, and of its own.
const TYPES: [(&str, &str); 7] = [
    ("expected u8", "expected a whole number of 0 to 255"),
    ("expected u16", "expected a whole number of 0 to 65535"),
    ("expected u32", "expected a whole number"),
    ("expected u64", "expected a whole number"),
    ("expected a sequence", "expected a list"),
    ("invalid type: map", "invalid type: table"),
    ("invalid type: sequence", "invalid type: list"),
];

fn in_words_of_toml(message: &str) -> String {
    TYPES
        .into_iter()
        .fold(message.to_owned(), |message, (rust, toml)| {
            message.replace(rust, toml)
        })
}

/// A table of the file. [`Self::finish`] returns its mistakes, including unknown fields.
pub(super) struct Fields<'a> {
    /// What it describes, for messages about mistakes.
    what: String,
    at: usize,
    table: DeTable<'a>,
    mistakes: Vec<Mistake>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &str, table: Spanned<DeTable<'a>>) -> Self {
        Self {
            what: what.to_owned(),
            at: table.span().start,
            table: table.into_inner(),
            mistakes: Vec::new(),
        }
    }

    /// Sets what the table describes, when that is known.
    pub(super) fn describe(&mut self, what: String) {
        self.what = what;
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// The checked value of the field; `None` if it is absent or wrong.
    pub(super) fn optional<T, U>(
        &mut self,
        name: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U>
    where
        T: Deserialize<'a>,
    {
        let value = self.table.remove(name)?;
        let at = value.span().start;
        let read = T::deserialize(value.into_deserializer());
        let checked = match read {
            Ok(value) => check(value).map_err(|reason| (at, reason)),
            Err(error) => {
                let at = error.span().map_or(at, |span| span.start);
                Err((at, in_words_of_toml(error.message())))
            }
        };
        match checked {
            Ok(value) => Some(value),
            Err((at, reason)) => {
                self.mistake_at(at, format!("{name}: {reason}"));
                None
            }
        }
    }

    /// The same for a required field.
    pub(super) fn required<T, U>(
        &mut self,
        name: &str,
        check: impl FnOnce(T) -> Result<U, String>,
    ) -> Option<U>
    where
        T: Deserialize<'a>,
    {
        if !self.has(name) {
            self.mistake(format!("{name} is missing"));
        }
        self.optional(name, check)
    }

    /// The tables of an array, or nothing.
    pub(super) fn tables(&mut self, name: &str) -> Vec<Spanned<DeTable<'a>>> {
        let Some(value) = self.table.remove(name) else {
            return Vec::new();
        };
        let at = value.span().start;
        let DeValue::Array(values) = value.into_inner() else {
            self.mistake_at(at, format!("write [[{name}]], in two brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in values {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(table) => tables.push(Spanned::new(span, table)),
                _ => self.mistake_at(span.start, format!("{name} is not a table")),
            }
        }
        tables
    }

    /// Whether there is a mistake.
    pub(super) fn is_wrong(&self) -> bool {
        !self.mistakes.is_empty()
    }

    /// Records a mistake of the table as a whole.
    pub(super) fn mistake(&mut self, message: impl Into<Cow<'static, str>>) {
        self.mistake_at(self.at, message.into().into_owned());
    }

    fn mistake_at(&mut self, at: usize, message: String) {
        self.mistakes.push(Mistake { at, message });
    }

    /// Where the table begins, and all its mistakes, including unknown fields.
    pub(super) fn finish(mut self, known: &str) -> (usize, Vec<Mistake>) {
        let unknown: Vec<_> = self
            .table
            .keys()
            .map(|name| (name.span().start, name.get_ref().to_string()))
            .collect();
        for (at, name) in unknown {
            self.mistake_at(
                at,
                format!("there is no field {name}; the fields are {known}"),
            );
        }
        let what = &self.what;
        for mistake in &mut self.mistakes {
            mistake.message = format!("{what}: {}", mistake.message);
        }
        (self.at, self.mistakes)
    }
}
