//! What is wrong with a routes file, each with its line.

use std::fmt;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Where in the text, in bytes.
    pub(super) at: usize,
    pub(super) message: String,
}

/// All mistakes of a file, by line.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Mistakes(Vec<(usize, String)>);

impl Mistakes {
    pub(super) fn new(text: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.at);
        let line = |at: usize| {
            let before = text.as_bytes().iter().take(at);
            before.filter(|byte| **byte == b'\n').count() + 1
        };
        let lines = mistakes
            .into_iter()
            .map(|mistake| (line(mistake.at), mistake.message));
        Self(lines.collect())
    }
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
