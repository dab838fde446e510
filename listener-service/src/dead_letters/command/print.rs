//! Dead letters on a terminal.

use std::io::{self, Write, stdout};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::shown::shown;

/// Heading, member of the answer, and most characters of each column of the list.
const COLUMNS: [(&str, &str, usize); 9] = [
    ("ID", "id", 36),
    // Complete, so that it can be copied.
    ("EVENT", "event_id", 255),
    ("DIED AT", "died_at", 20),
    ("ROUTE", "route", 20),
    ("TYPE", "type", 24),
    ("TRIES", "attempts", 5),
    ("STATE", "state", 9),
    ("REASON", "reason", 60),
    ("ANSWER", "answer", 60),
];
/// An excerpt of unreadable data; `data` writes all of it.
const BASE64_CHARS_MAX: usize = 200;
/// What `show` prints above the data, in this order.
const MEMBERS: [&str; 15] = [
    "id",
    "state",
    "route",
    "queue",
    "event_id",
    "type",
    "reason",
    "status",
    "answer",
    "attempts",
    "first_failure",
    "last_failure",
    "died_at",
    "deaths",
    "routing_key",
];

/// Prints the answer of a listing.
pub(super) fn list(answer: &[u8], json: bool) -> anyhow::Result<()> {
    if json {
        return raw(answer);
    }
    let answer: Value = serde_json::from_slice(answer)?;
    let letters = answer["dead_letters"].as_array();
    let letters = letters.map_or(&[][..], Vec::as_slice);
    let mut out = stdout().lock();
    if !letters.is_empty() {
        table(&mut out, letters)?;
    }
    writeln!(out, "{} of {}", letters.len(), answer["total"])?;
    if let Some(cursor) = answer["next_cursor"].as_str() {
        writeln!(out, "more with --cursor {cursor}")?;
    }
    Ok(())
}

/// Prints one dead letter.
pub(super) fn letter(answer: &[u8], json: bool) -> anyhow::Result<()> {
    if json {
        return raw(answer);
    }
    /// Shown unchanged, in the order and with the numbers of its sender.
    #[derive(Deserialize)]
    struct AsItIs<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let letter: Value = serde_json::from_slice(answer)?;
    let AsItIs { data } = serde_json::from_slice(answer)?;
    let mut out = stdout().lock();
    for member in MEMBERS {
        let value = text(&letter[member]);
        if !value.is_empty() {
            writeln!(out, "{member:<14} {value}")?;
        }
    }
    writeln!(
        out,
        "{:<14} {}",
        "event",
        shown(&letter["event"].to_string())
    )?;
    match data {
        Some(data) => writeln!(out, "{:<14} {}", "data", shown(data.get()))?,
        None => {
            let base64 = cut(&text(&letter["data_base64"]), BASE64_CHARS_MAX);
            writeln!(out, "{:<14} {base64}", "data_base64")?;
        }
    }
    Ok(())
}

fn raw(answer: &[u8]) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    out.write_all(answer)?;
    Ok(out.write_all(b"\n")?)
}

fn table(out: &mut impl Write, letters: &[Value]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = letters
        .iter()
        .map(|letter| {
            let cell = |(_, member, width): &(_, &str, usize)| match *member {
                "died_at" => seconds(&text(&letter["died_at"])),
                member => cut(&text(&letter[member]), *width),
            };
            COLUMNS.iter().map(cell).collect()
        })
        .collect();
    let heading: Vec<String> = COLUMNS
        .iter()
        .map(|(name, ..)| (*name).to_owned())
        .collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .chain([&heading])
            .map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    for row in [&heading].into_iter().chain(&rows) {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => shown(text),
        value => value.to_string(),
    }
}

/// A stored time without fractions of a second.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _fraction)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width - 1).collect();
    start + "…"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_has_columns_as_wide_as_they_need_and_no_control_characters() {
        let letters = [
            json!({"id": "a", "event_id": "e-1", "died_at": "2026-11-20T21:00:00.123456Z", "route": "mailer",
                   "type": "order.placed", "attempts": 3, "state": "dead", "reason": "\u{1b}[31m x",
                   "answer": "y".repeat(61)}),
            json!({"id": "b"}),
        ];
        let mut out = Vec::new();
        table(&mut out, &letters).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            format!(
                "ID  EVENT  DIED AT               ROUTE   TYPE          TRIES  STATE  REASON   ANSWER\n\
                 a   e-1    2026-11-20T21:00:00Z  mailer  order.placed  3      dead    [31m x  {}…\n\
                 b\n",
                "y".repeat(59)
            )
        );
    }
}
