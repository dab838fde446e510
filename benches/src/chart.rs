//! Curves as a picture: an SVG with one panel for each figure.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use plotters::{
    chart::ChartBuilder,
    drawing::{DrawingArea, IntoDrawingArea as _},
    element::Circle,
    prelude::SVGBackend,
    series::LineSeries,
    style::{BLACK, Color as _, RGBColor, WHITE},
};

const PANEL: (u32, u32) = (380, 260);
/// Beside each other: more would be too small to read in a page's width.
const COLUMNS_MAX: usize = 3;
const MARGIN: i32 = 12;
/// Colour-blind readers tell these apart (Okabe and Ito).
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
];

/// One figure over what was varied.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// A line each: its points from left to right.
    pub(crate) lines: Vec<Vec<(f64, f64)>>,
}

/// What lies below all panels.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    /// Words for the places 0, 1, 2 and so on; without them the axis shows its numbers.
    pub(crate) places: Vec<String>,
}

/// Draws the panels next to each other, in as many rows as needed.
pub(crate) fn draw(path: &Path, axis: &Axis, panels: &[Panel]) -> anyhow::Result<()> {
    let columns = panels.len().clamp(1, COLUMNS_MAX);
    let rows = panels.len().div_ceil(columns).max(1);
    let size = (
        PANEL.0 * u32::try_from(columns)?,
        PANEL.1 * u32::try_from(rows)?,
    );
    let picture = SVGBackend::new(path, size).into_drawing_area();
    let drawn = picture.fill(&WHITE).map_err(|error| anyhow!("{error}"));
    drawn.with_context(|| path.display().to_string())?;
    for (area, panel) in picture.split_evenly((rows, columns)).iter().zip(panels) {
        draw_panel(area, axis, panel).with_context(|| panel.title.clone())?;
    }
    let written = picture.present().map_err(|error| anyhow!("{error}"));
    written.with_context(|| path.display().to_string())
}

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    axis: &Axis,
    panel: &Panel,
) -> anyhow::Result<()> {
    let failed = |error| anyhow!("{error}");
    let points = || panel.lines.iter().flatten();
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let (right, top) = (most(|point| point.0).max(1.0), most(|point| point.1));
    // Every curve begins at nothing, so that heights compare.
    let top = if top > 0.0 { top * 1.1 } else { 1.0 };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 15))
        .margin(MARGIN)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .map_err(failed)?;
    let place = |x: &f64| {
        let place = (x.fract() == 0.0).then(|| axis.places.get(*x as usize));
        place.flatten().cloned().unwrap_or_default()
    };
    let number = |x: &f64| format!("{x}");
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axis.label)
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .y_label_formatter(&|y| short(*y));
    if axis.places.is_empty() {
        mesh.x_labels(6).x_label_formatter(&number);
    } else {
        mesh.x_labels(axis.places.len()).x_label_formatter(&place);
    }
    mesh.draw().map_err(failed)?;
    for (line, colour) in panel.lines.iter().zip(COLOURS) {
        let drawn = LineSeries::new(line.iter().copied(), colour.stroke_width(2));
        chart.draw_series(drawn).map_err(failed)?;
        if !axis.places.is_empty() {
            let dots = line
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
    }
    Ok(())
}

/// A number in few characters.
fn short(number: f64) -> String {
    match number {
        1_000_000.0.. => format!("{:.1}M", number / 1e6),
        10_000.0.. => format!("{:.0}k", number / 1e3),
        1_000.0.. => format!("{:.1}k", number / 1e3),
        10.0.. => format!("{number:.0}"),
        _ => format!("{number:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_for_each_line_and_the_words_of_its_axis() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve.svg");
        let axis = Axis {
            label: "size",
            places: vec!["256 B".to_owned(), "1 KiB".to_owned()],
        };
        let panels = [Panel {
            title: "events/s".to_owned(),
            lines: vec![vec![(0.0, 5000.0), (1.0, 4000.0)]],
        }];
        draw(&path, &axis, &panels).unwrap();
        let picture = std::fs::read_to_string(path).unwrap();
        for word in ["256 B", "1 KiB", "events/s", "size"] {
            assert!(picture.contains(word), "{word}");
        }
        assert_eq!(picture.matches("<circle").count(), 2);
    }

    #[test]
    fn what_is_too_much_for_one_row_goes_on_in_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curve.svg");
        let axis = Axis {
            label: "size",
            places: Vec::new(),
        };
        let panels: Vec<_> = ["a", "b", "c", "d"].map(panel).into();
        draw(&path, &axis, &panels).unwrap();
        let picture = std::fs::read_to_string(path).unwrap();
        assert!(
            picture.contains(r#"width="1140" height="520""#),
            "{picture}"
        );
        assert_eq!(
            picture.matches("stroke=\"#0072B2\"").count(),
            4,
            "{picture}"
        );
    }

    fn panel(title: &str) -> Panel {
        Panel {
            title: title.to_owned(),
            lines: vec![vec![(0.0, 1.0), (1.0, 2.0)]],
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.5, 42.0, 1_500.0, 15_000.0, 2_500_000.0].map(short),
            ["0.5", "42", "1.5k", "15k", "2.5M"]
        );
    }
}
