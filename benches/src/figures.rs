//! Figures over several rounds: their median, and how far apart they lie.

use std::fmt;

/// What was found in some rounds, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Figures {
    /// `None` where there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            median,
            least,
            most,
        } = self;
        formatter.write_str(&number(*median))?;
        if least != most {
            write!(formatter, " ({}–{})", number(*least), number(*most))?;
        }
        Ok(())
    }
}

/// Three digits or all of those before the point, with commas between thousands.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if !fraction.is_empty() {
        grouped = format!("{grouped}.{fraction}");
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        let median = |values: &[f64]| Figures::of(values.to_vec()).map(|figures| figures.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn are_written_for_people() {
        let text = |values: &[f64]| Figures::of(values.to_vec()).unwrap().to_string();
        assert_eq!(
            text(&[15_234.4, 14_999.9, 1_000_000.0]),
            "15,234 (15,000–1,000,000)"
        );
        assert_eq!(text(&[1.234]), "1.23");
        assert_eq!(text(&[12.34]), "12.3");
        assert_eq!(text(&[123.4]), "123");
        assert_eq!(text(&[0.0]), "0");
    }
}
