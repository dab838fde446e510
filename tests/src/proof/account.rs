//! What the publisher said of each number, and what RabbitMQ gave back.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

use crate::proof::{Destination, Plan, Verdict};

/// Two bytes for each publish, so that a million of them weigh nothing in what a trial measures.
/// It is read once everybody who writes to it is done, hence needs no order of memory.
#[derive(Debug)]
pub struct Account {
    /// What is published.
    pub plan: Plan,
    started: AtomicUsize,
    told: AtomicUsize,
    open: AtomicUsize,
    verdicts: Vec<AtomicU8>,
    held: Vec<AtomicU8>,
    held_in_all: AtomicUsize,
    strays: AtomicUsize,
}

impl Account {
    /// An account of which nothing has happened.
    pub fn new(plan: Plan) -> Self {
        let zeros = || (0..plan.publishes).map(|_| AtomicU8::new(0)).collect();
        Self {
            started: AtomicUsize::new(0),
            told: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            verdicts: zeros(),
            held: zeros(),
            held_in_all: AtomicUsize::new(0),
            strays: AtomicUsize::new(0),
            plan,
        }
    }

    /// The next number to publish, while there is one.
    pub fn start(&self) -> Option<usize> {
        let number = self.started.fetch_add(1, Relaxed);
        (number < self.plan.publishes).then_some(number)
    }

    /// How many numbers were given out.
    pub fn started(&self) -> usize {
        self.started.load(Relaxed).min(self.plan.publishes)
    }

    /// How many publishes have returned.
    pub fn told(&self) -> usize {
        self.told.load(Relaxed)
    }

    /// How many of them left the fate of their message open.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// How many messages RabbitMQ gave back.
    pub fn held_in_all(&self) -> usize {
        self.held_in_all.load(Relaxed)
    }

    /// How many of these were in another queue than that of their key, or have no number.
    pub fn strays(&self) -> usize {
        self.strays.load(Relaxed)
    }

    /// Notes what the publisher said.
    pub fn tell(&self, number: usize, verdict: Verdict) {
        self.verdicts[number].store(verdict as u8, Relaxed);
        self.told.fetch_add(1, Relaxed);
        if verdict.is_open() {
            self.open.fetch_add(1, Relaxed);
        }
    }

    /// Notes that the queue of `destination` held the message with this id.
    pub fn hold(&self, destination: Destination, id: &str) {
        self.held_in_all.fetch_add(1, Relaxed);
        let number = id.parse().ok().filter(|number| {
            *number < self.plan.publishes && self.plan.destination(*number) == destination
        });
        match number {
            Some(number) => {
                // A message that came 255 times has been found out; it must not count as never.
                let more = |times: u8| Some(times.saturating_add(1));
                let _ = self.held[number].fetch_update(Relaxed, Relaxed, more);
            }
            None => {
                self.strays.fetch_add(1, Relaxed);
            }
        }
    }

    /// What the publisher said of a number.
    pub fn verdict(&self, number: usize) -> Verdict {
        Verdict::ALL[usize::from(self.verdicts[number].load(Relaxed))]
    }

    /// How often RabbitMQ gave a number back.
    pub fn held(&self, number: usize) -> u8 {
        self.held[number].load(Relaxed)
    }
}
