//! A WHERE clause, made of conditions that all hold.

use std::ops::Range;

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use crate::listing::TypePattern;

/// A WHERE clause, and the values of its placeholders in order.
pub(crate) struct Conditions {
    pub(crate) sql: String,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Conditions {
    /// What every row fulfils.
    pub(crate) fn none() -> Self {
        Self {
            sql: "1 = 1".to_owned(),
            values: Vec::new(),
        }
    }

    /// Adds a condition in which `$` stands for the text.
    pub(crate) fn text(&mut self, condition: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.and(condition, Value::Text(value.to_owned()));
        }
    }

    /// Adds a condition in which `$` stands for the number.
    pub(crate) fn number(&mut self, condition: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.and(condition, Value::Number(value));
        }
    }

    /// The column `type` matches.
    pub(crate) fn event_type(&mut self, pattern: Option<&TypePattern>) {
        self.text("type = $", pattern.and_then(TypePattern::exact));
        // Not LIKE: SQLite's does not tell upper from lower case.
        let prefix = pattern.and_then(TypePattern::prefix);
        self.text("substr(type, 1, length($)) = $", prefix);
    }

    /// One of these texts contains the value. Their ASCII letters must be in lower case.
    pub(crate) fn contains(&mut self, folded: &[String], value: Option<&str>) {
        let any: Vec<_> = folded
            .iter()
            .map(|text| format!(r"{text} LIKE $ ESCAPE '\'"))
            .collect();
        let pattern = value.map(pattern);
        self.text(&format!("({})", any.join(" OR ")), pattern.as_deref());
    }

    /// Adds that the row is one of these.
    pub(crate) fn among(&mut self, rows: &Range<i64>) {
        self.number("seq >= $", Some(rows.start));
        self.number("seq < $", Some(rows.end));
    }

    /// Gives a query with this clause its values.
    pub(crate) fn bind<'q>(
        &self,
        mut query: Query<'q, Any, AnyArguments>,
    ) -> Query<'q, Any, AnyArguments> {
        for value in &self.values {
            query = match value {
                Value::Text(text) => query.bind(text.clone()),
                Value::Number(number) => query.bind(*number),
            };
        }
        query
    }

    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        let placeholder = format!("${}", self.values.len());
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('$', &placeholder));
    }
}

/// A LIKE pattern for texts that contain `text`, whose own wildcards are escaped.
fn pattern(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in text.chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_escaped() {
        assert_eq!(pattern(r"50%_\ÉA"), r"%50\%\_\\Éa%");
    }

    #[test]
    fn every_value_has_a_placeholder_of_its_own() {
        let mut conditions = Conditions::none();
        conditions.event_type(Some(&TypePattern::Prefix("a".to_owned())));
        conditions.text("name = $", Some("b"));
        conditions.text("source = $", None);
        conditions.contains(&["x".to_owned(), "y".to_owned()], Some("c"));
        conditions.among(&(7..9));
        assert_eq!(
            conditions.sql,
            r"1 = 1 AND substr(type, 1, length($1)) = $1 AND name = $2 AND (x LIKE $3 ESCAPE '\' OR y LIKE $3 ESCAPE '\') AND seq >= $4 AND seq < $5"
        );
        assert_eq!(conditions.values.len(), 5);
    }
}
