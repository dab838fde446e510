//! What was measured, as a table.

use std::{collections::BTreeMap, time::Duration};

/// The callers whose speed on one channel is 1, where they are measured.
const REFERENCE: usize = 512;

/// How long everything took in each round, by way and callers.
#[derive(Default)]
pub struct Speeds(BTreeMap<(usize, usize), Vec<Duration>>);

impl Speeds {
    pub fn add(&mut self, way: usize, callers: usize, took: Duration) {
        self.0.entry((way, callers)).or_default().push(took);
    }

    /// Publishes a second, or for less than a second's worth of them the time they took; and how many
    /// times as fast as the reference that is. A ratio is the median of the rounds' ratios.
    pub fn table(&self, ways: &[String], callers: &[usize], publishes: usize) -> String {
        let has_reference = callers.contains(&REFERENCE);
        let reference = if has_reference { REFERENCE } else { callers[0] };
        let one = &self.0[&(0, reference)];
        let mut lines = vec![
            format!("| publishes on their way | {} |", ways.join(" | ")),
            format!("|--:|{}", "--:|".repeat(ways.len())),
        ];
        for callers in callers {
            let cells = (0..ways.len()).map(|way| {
                let took = &self.0[&(way, *callers)];
                let ratios = one.iter().zip(took);
                let ratios = ratios.map(|(one, took)| one.as_secs_f64() / took.as_secs_f64());
                let ratio = median(ratios.collect());
                let seconds = median(took.iter().map(Duration::as_secs_f64).collect());
                format!("{} ({ratio:.2})", speed(publishes, seconds))
            });
            lines.push(format!(
                "| {callers} | {} |",
                cells.collect::<Vec<_>>().join(" | ")
            ));
        }
        lines.join("\n")
    }
}

fn speed(publishes: usize, seconds: f64) -> String {
    if publishes < 5_000 {
        format!("{:.1} ms", seconds * 1000.0)
    } else {
        format!("{:.1} k/s", publishes as f64 / seconds / 1000.0)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
