//! Strict JSON: anything doubtful is an error, and errors never repeat a value.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{error::Category, value::RawValue};

use crate::Invalid;

/// Levels of nesting that a text may have in total. serde_json refuses the 128th, so a value
/// accepted here also parses at a receiver that reads it with serde_json.
pub const DEPTH_MAX: usize = 127;
const NAME_CHARS_MAX: usize = 64;

/// Parses a body that must be a JSON object.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    let text = document(bytes)?;
    check_depth(bytes)?;
    parse_object(text)
}

/// Parses an object that is part of a body which was parsed by [`parse`].
pub fn parse_part<'a, T: Deserialize<'a>>(part: &'a RawValue) -> Result<T, Invalid> {
    parse_object(part.get())
}

fn parse_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Invalid> {
    // A derived struct would also read an array of its fields' values.
    if text.trim_ascii_start().starts_with('[') {
        return Err(Invalid::new("the body is not a JSON object"));
    }
    serde_json::from_str(text).map_err(|error| {
        // Of a value where another type is expected serde_json also says that it is no JSON.
        let is_json = error.classify() == Category::Syntax
            && serde_json::from_str::<IgnoredAny>(text).is_ok();
        if is_json {
            let (line, column) = (error.line(), error.column());
            return Invalid::new(format!("wrong type, line {line} column {column}"));
        }
        Invalid::new(describe(&error))
    })
}

/// An error unless the body is JSON of any kind. Keeps nothing of it, and accepts numbers of any
/// size.
pub fn check(bytes: &[u8]) -> Result<(), Invalid> {
    let text = document(bytes)?;
    check_depth(bytes)?;
    serde_json::from_str::<IgnoredAny>(text)
        .map(drop)
        .map_err(|error| Invalid::new(describe(&error)))
}

/// The text of a body that may be JSON.
pub fn document(bytes: &[u8]) -> Result<&str, Invalid> {
    if bytes.is_empty() {
        return Err(Invalid::new("the body is empty"));
    }
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        return Err(Invalid::new("the body begins with a byte order mark"));
    }
    // serde_json checks only the strings that it keeps, so parts that pass through need this check.
    std::str::from_utf8(bytes).map_err(|_| Invalid::new("the body is not valid UTF-8"))
}

/// An error if `bytes` nests deeper than [`DEPTH_MAX`]. serde_json's own limit does not see into a
/// `RawValue`, which would then fail to parse where it is read.
pub fn check_depth(bytes: &[u8]) -> Result<(), Invalid> {
    // Few bodies have that many brackets, and counting brackets is faster than finding strings.
    let brackets = bytes.iter().filter(|byte| matches!(byte, b'{' | b'['));
    if brackets.count() > DEPTH_MAX && depth(bytes) > DEPTH_MAX {
        let message = format!("the JSON is nested deeper than {DEPTH_MAX} levels");
        return Err(Invalid::new(message));
    }
    Ok(())
}

/// Levels of objects and arrays in JSON; of anything else, a number without meaning.
pub fn depth(json: &[u8]) -> usize {
    let mut depth: usize = 0;
    let mut deepest = 0;
    let mut in_string = false;
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// serde's message without the parts that quote a value of the body.
pub fn describe(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    if error.classify() != Category::Data {
        return format!("the body is not valid JSON, line {line} column {column}");
    }
    let place = format!(" at line {line} column {column}");
    let text = error.to_string();
    let text = text.strip_suffix(&place).unwrap_or(&text);
    // The expected part comes from our own types and comes last; the found part comes before it.
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let reason = match (text.split_once('`'), expected) {
        (Some((kind @ ("unknown field " | "missing field " | "duplicate field "), rest)), _) => {
            let name = rest.split('`').next().unwrap_or_default();
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            format!("{kind}`{name}`")
        }
        (Some(("unknown variant ", _)), Some(expected)) => {
            format!("unknown variant, expected {expected}")
        }
        (_, Some(expected)) => format!("wrong type or value, expected {expected}"),
        (_, None) => text.to_owned(),
    };
    format!("{reason}, line {line} column {column}")
}
