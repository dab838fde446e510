//! The table, and its place in a document.

use std::path::Path;

use tests::OrPanic as _;

use crate::{
    row::{HEAD, Row},
    versions::Versions,
};

/// What one run found.
pub struct Report {
    pub versions: Versions,
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.violations.is_empty())
    }

    /// The versions and the table.
    pub fn markdown(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(Row::line).collect();
        format!("{}\n\n{HEAD}\n{}\n", self.versions, rows.join("\n"))
    }

    /// Replaces the table of this generation of RabbitMQ in a document: what is between its marks.
    pub fn write(&self, path: &Path) {
        let name = path.display().to_string();
        let document = std::fs::read_to_string(path).or_panic(&name);
        let (begin, end) = marks(&self.versions.rabbitmq);
        let replaced = replace(&document, &begin, &end, &self.markdown());
        let Some(replaced) = replaced else {
            panic!("{name} has no marks {begin} and {end}");
        };
        std::fs::write(path, replaced).or_panic(&name);
    }
}

fn marks(version: &str) -> (String, String) {
    let generation = version.split('.').next().unwrap_or_default();
    (
        format!("<!-- chaos {generation}: written by make chaos -->"),
        format!("<!-- end of chaos {generation} -->"),
    )
}

fn replace(document: &str, begin: &str, end: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(begin)?;
    let (_old, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n\n{table}\n{end}{after}"))
}
