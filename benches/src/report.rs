//! What a scenario found, as a table for people and as JSON for programs.

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;

use crate::figures::Figures;

/// One contender in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) contender: Cow<'static, str>,
    /// By name, in the order in which they are shown.
    pub(crate) figures: Vec<Figure>,
}

/// A name with its unit, and a value.
pub(crate) type Figure = (Cow<'static, str>, f64);

/// How many times as much of a figure one contender has as another one, round by round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) figure: &'static str,
    pub(crate) of: Cow<'static, str>,
    pub(crate) to: Cow<'static, str>,
}

/// What one scenario found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// What was done, for the reader.
    pub(crate) text: String,
    /// In the order in which they are shown.
    pub(crate) contenders: Vec<Cow<'static, str>>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) ratios: Vec<Ratio>,
    /// Runs that do not count, and whoever was left out.
    pub(crate) complaints: Vec<String>,
    /// Whether all complaints are about what could not be had, and none about a run.
    pub(crate) is_valid: bool,
}

impl Report {
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.text);
        let contenders: Vec<_> = self
            .contenders
            .iter()
            .filter(|contender| self.of(contender).next().is_some())
            .collect();
        let mut rows = vec![
            std::iter::once(String::new())
                .chain(contenders.iter().map(ToString::to_string))
                .collect::<Vec<_>>(),
        ];
        for name in self.names() {
            let cells = contenders.iter().map(|contender| {
                let values = self.of(contender).filter_map(|sample| sample.figure(&name));
                Figures::of(values).map_or_else(String::new, |figures| figures.to_string())
            });
            rows.push(std::iter::once(name.to_string()).chain(cells).collect());
        }
        text += &table(&rows);
        let ratios: Vec<_> = self
            .ratios
            .iter()
            .filter_map(|ratio| self.line(ratio))
            .collect();
        if !ratios.is_empty() {
            text += "\n";
            text += &table(&[vec![vec!["ratio".to_owned(), String::new()]], ratios].concat());
        }
        for complaint in &self.complaints {
            let _ = write!(text, "\n**{complaint}**\n");
        }
        text
    }

    fn of(&self, contender: &str) -> impl Iterator<Item = &Sample> {
        let all = self.samples.iter();
        all.filter(move |sample| sample.contender == contender)
    }

    /// Names of all figures, each once.
    fn names(&self) -> Vec<Cow<'static, str>> {
        let mut names = Vec::new();
        for (name, _value) in self.samples.iter().flat_map(|sample| &sample.figures) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    fn line(&self, ratio: &Ratio) -> Option<Vec<String>> {
        let Ratio { figure, of, to } = ratio;
        let ratios = self.of(of).filter_map(|sample| {
            let mut others = self.of(to);
            let other = others.find(|other| other.round == sample.round)?;
            Some(sample.figure(figure)? / other.figure(figure)?)
        });
        let figures = Figures::of(ratios)?;
        Some(vec![format!("{figure}: {of} to {to}"), figures.to_string()])
    }
}

impl Sample {
    fn figure(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|(figure, _value)| figure == name);
        figure.map(|(_name, value)| *value)
    }
}

/// A table of Markdown that is one on a terminal too; the first row is its head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text += "|\n";
        if index == 0 {
            text += &widths.iter().fold(String::new(), |line, width| {
                format!("{line}|{}", "-".repeat(width + 2))
            });
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(round: usize, contender: &'static str, value: f64) -> Sample {
        Sample {
            round,
            contender: contender.into(),
            figures: vec![("events/s".into(), value)],
        }
    }

    #[test]
    fn shows_medians_and_ratios_within_rounds() {
        let report = Report {
            scenario: "publish",
            text: "Text.".to_owned(),
            contenders: vec!["a".into(), "b".into(), "left out".into()],
            samples: vec![
                sample(1, "b", 100.0),
                sample(1, "a", 200.0),
                sample(2, "a", 400.0),
                sample(2, "b", 100.0),
            ],
            ratios: vec![Ratio {
                figure: "events/s",
                of: "a".into(),
                to: "b".into(),
            }],
            complaints: vec!["c is missing".to_owned()],
            is_valid: true,
        };
        let shown = "\
Text.

|          | a             | b   |
|----------|---------------|-----|
| events/s | 300 (200–400) | 100 |

| ratio              |                  |
|--------------------|------------------|
| events/s: a to b   | 3.00 (2.00–4.00) |

**c is missing**
";
        let squeeze = |text: &str| text.replace([' ', '-'], "");
        assert_eq!(squeeze(&report.markdown()), squeeze(shown));
    }
}
