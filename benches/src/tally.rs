//! What became of the requests of one run, and how long they took.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    report::Figure,
    usage::{CpuTime, Window},
};

/// More than anybody waits here, in microseconds.
const LATENCY_MAX: u64 = 60_000_000;

/// Counts requests. Those that were due before the window warm up: they are counted as accepted
/// and no more.
#[derive(Debug)]
pub(crate) struct Tally {
    window: Window,
    latency: Histogram<u32>,
    accepted: u64,
    refused: u64,
    refusal: Option<String>,
}

/// One run of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Events that RabbitMQ should have now, including those of the warm-up.
    pub(crate) accepted: u64,
    /// Requests that were answered otherwise, and the first such answer.
    pub(crate) refused: u64,
    pub(crate) refusal: Option<String>,
    /// Events of the window.
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    pub(crate) latency: Latency,
    /// Of a closed loop, as clients would have seen it that keep sending at its mean pace while the
    /// contender stalls.
    pub(crate) corrected: Option<Latency>,
    /// Seconds of CPU in the window, by process.
    pub(crate) cpu_seconds: Vec<(String, f64)>,
}

/// Milliseconds from when a request was due to its answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Tally {
    /// # Panics
    /// Never: the bounds of the histogram are valid.
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    pub(crate) fn new(window: Window) -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("valid bounds");
        Self {
            window,
            latency,
            accepted: 0,
            refused: 0,
            refusal: None,
        }
    }

    /// Counts an event that was due at `due` and is accepted now.
    pub(crate) fn accepted(&mut self, due: Instant) {
        self.accepted += 1;
        if self.window.contains(due) {
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(LATENCY_MAX);
            self.latency.saturating_record(micros);
        }
    }

    /// Counts an answer for an event that is not accepted.
    pub(crate) fn refused(&mut self, answer: impl FnOnce() -> String) {
        self.refused += 1;
        self.refusal.get_or_insert_with(answer);
    }

    /// The outcome, with what processes spent in the window. In a closed loop so many requests were
    /// `outstanding` all the time.
    pub(crate) fn outcome(&self, cpu: CpuTime, outstanding: Option<usize>) -> Outcome {
        let cpu = cpu.into_iter();
        let corrected = outstanding.map(|outstanding| self.corrected(outstanding as u64));
        Outcome {
            accepted: self.accepted,
            refused: self.refused,
            refusal: self.refusal.clone(),
            events: self.latency.len(),
            seconds: self.window.seconds(),
            latency: Latency::of(&self.latency),
            corrected,
            cpu_seconds: cpu
                .map(|(name, time)| (name.to_owned(), time.as_secs_f64()))
                .collect(),
        }
    }

    fn corrected(&self, outstanding: u64) -> Latency {
        let micros = (self.window.end - self.window.start).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        let pace = micros.saturating_mul(outstanding) / self.latency.len().max(1);
        Latency::of(&self.latency.clone_correct(pace.max(1)))
    }
}

impl Outcome {
    /// Microseconds of CPU for each event of the window, by process.
    pub(crate) fn cpu_figures(&self) -> impl Iterator<Item = Figure> {
        self.cpu_seconds.iter().map(|(process, seconds)| {
            let name = format!("{process} CPU, µs/event");
            (name.into(), seconds * 1e6 / self.events.max(1) as f64)
        })
    }
}

impl Latency {
    fn of(histogram: &Histogram<u32>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
        }
    }

    /// Of single measurements.
    #[expect(clippy::expect_used, reason = "the bounds are constants")]
    pub(crate) fn of_all(durations: &[Duration]) -> Self {
        let mut histogram = Histogram::new_with_bounds(1, LATENCY_MAX, 3).expect("valid bounds");
        for duration in durations {
            let micros = u64::try_from(duration.as_micros()).unwrap_or(LATENCY_MAX);
            histogram.saturating_record(micros);
        }
        Self::of(&histogram)
    }
}
