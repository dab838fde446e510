//! The mistakes of a routes file, each with its line.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Position in the text, in bytes.
    pub(super) at: usize,
    pub(super) message: String,
}

/// All mistakes of a file, by line.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Mistakes(Vec<(usize, String)>);

impl Mistakes {
    pub(super) fn new(text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.at);
        let lines = mistakes
            .into_iter()
            .map(|mistake| (line(text, mistake.at), mistake.message));
        Self(lines.collect())
    }

    /// For a text that is not TOML. Only the first mistake counts: it usually causes the others.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let column = before
            .chars()
            .rev()
            .take_while(|char| *char != '\n')
            .count()
            + 1;
        let line = line(text, at);
        let header = text.lines().nth(line - 1).unwrap_or_default().trim();
        let message = match (error.message(), header) {
            ("duplicate key", "[route]" | "[request]") => {
                format!("write [{header}], in two brackets, at each of them")
            }
            (message, _) => format!("this is not valid TOML: {message}"),
        };
        Self(vec![(line, format!("column {column}: {message}"))])
    }
}

fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (line, message)) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}line {line}: {message}")?;
        }
        Ok(())
    }
}
