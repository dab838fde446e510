//! How the cost grows with the work: one curve for each thing that grows.

mod backlog;
mod connections;
mod routes;
mod size;

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context as _;
use serde::Serialize;

use crate::{
    chart::{self, Axis, Panel},
    lab::Lab,
    report::{Figure, table},
};

/// What was measured at each value of what grows.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    /// Of its picture's file.
    name: &'static str,
    /// What was done, for the reader.
    text: String,
    /// What grows.
    axis: &'static str,
    points: Vec<Point>,
    /// Whether the points lie at their numbers, as times do, or one beside the other.
    is_linear: bool,
    /// Rows of its table; of a long curve only some.
    rows: usize,
}

#[derive(Debug, Serialize)]
struct Point {
    /// In words.
    at: String,
    x: f64,
    figures: Vec<Figure>,
}

/// Measures all curves, one after the other.
pub(crate) async fn measure(lab: &Lab) -> anyhow::Result<Vec<Curve>> {
    Ok(vec![
        size::measure(lab).await.context("size")?,
        connections::measure(lab).await.context("connections")?,
        routes::measure(lab).await.context("routes")?,
        backlog::measure(lab).await.context("backlog")?,
    ])
}

impl Curve {
    /// The text and the table, with the picture where one was drawn.
    pub(crate) fn markdown(&self, pictures: Option<&str>) -> String {
        let mut text = format!("### {}\n\n{}\n\n", capital(self.name), self.text);
        if let Some(folder) = pictures {
            let _ = write!(text, "![{}]({folder}/{}.svg)\n\n", self.axis, self.name);
        }
        let names = self.names();
        let head =
            std::iter::once(self.axis.to_owned()).chain(names.iter().map(ToString::to_string));
        let mut rows = vec![head.collect()];
        let step = self.points.len().div_ceil(self.rows.max(1)).max(1);
        let last = self.points.len().saturating_sub(1);
        for (index, point) in self.points.iter().enumerate() {
            if index % step == 0 || index == last {
                let figures = point.figures.iter().map(|(_, value)| shown(*value));
                rows.push(std::iter::once(point.at.clone()).chain(figures).collect());
            }
        }
        text + &table(&rows)
    }

    /// Draws the picture into a folder.
    pub(crate) fn draw(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let axis = Axis {
            label: self.axis,
            places: if self.is_linear {
                Vec::new()
            } else {
                self.points.iter().map(|point| point.at.clone()).collect()
            },
        };
        let names = self.names();
        let panels = names.iter().enumerate().map(|(index, name)| Panel {
            title: name.clone(),
            lines: vec![self.line(index)],
        });
        let panels: Vec<_> = panels.collect();
        chart::draw(&folder.join(format!("{}.svg", self.name)), &axis, &panels)
    }

    fn line(&self, figure: usize) -> Vec<(f64, f64)> {
        let points = self.points.iter().enumerate();
        let points = points.filter_map(|(index, point)| {
            let x = if self.is_linear {
                point.x
            } else {
                index as f64
            };
            Some((x, point.figures.get(figure)?.1))
        });
        points.collect()
    }

    fn names(&self) -> Vec<String> {
        let first = self.points.first().map(|point| &point.figures);
        let names = first.into_iter().flatten();
        names.map(|(name, _value)| name.to_string()).collect()
    }
}

/// The figure of a name.
fn figure(figures: &[Figure], name: &str) -> anyhow::Result<f64> {
    let figure = figures.iter().find(|(figure, _value)| figure == name);
    let (_name, value) = figure.with_context(|| format!("{name} was not measured"))?;
    Ok(*value)
}

/// Some figures, under other names.
fn pick(figures: &[Figure], names: &[(&str, &'static str)]) -> anyhow::Result<Vec<Figure>> {
    let pick = |(name, shown): &(&str, &'static str)| Ok(((*shown).into(), figure(figures, name)?));
    names.iter().map(pick).collect()
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
