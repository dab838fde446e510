//! A row of the table.

use std::time::Duration;

use crate::fault::Fault;

/// What one kind of fault did.
pub struct Row {
    pub fault: Fault,
    pub injected: usize,
    pub accepted: usize,
    pub delivered: usize,
    pub dead: usize,
    pub lost: usize,
    pub duplicates: usize,
    pub longest_gap: Duration,
    pub recovery: Duration,
    /// What is worth knowing beside the figures.
    pub remarks: Vec<String>,
    /// Which promises did not hold.
    pub violations: Vec<String>,
}

/// The head of the table.
pub const HEAD: &str = "\
| fault | injected | accepted | delivered | dead letters | lost | duplicates | longest gap | recovery | |
|---|--:|--:|--:|--:|--:|--:|--:|--:|---|";

impl Row {
    /// A scenario that did not come to its end.
    pub fn broken(fault: Fault) -> Self {
        Self {
            fault,
            injected: 0,
            accepted: 0,
            delivered: 0,
            dead: 0,
            lost: 0,
            duplicates: 0,
            longest_gap: Duration::ZERO,
            recovery: Duration::ZERO,
            remarks: Vec::new(),
            violations: vec!["the scenario broke off, the log says why".to_owned()],
        }
    }

    /// The row in Markdown.
    pub fn line(&self) -> String {
        let recovery = if self.recovery.is_zero() {
            String::new()
        } else {
            format!("{:.1} s", self.recovery.as_secs_f64())
        };
        let verdict = if self.violations.is_empty() {
            "holds".to_owned()
        } else {
            format!("**VIOLATED**: {}", self.violations.join("; "))
        };
        let mut words = vec![verdict];
        words.extend(self.remarks.iter().cloned());
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.1} s | {recovery} | {} |",
            self.fault.title(),
            self.injected,
            self.accepted,
            self.delivered,
            self.dead,
            self.lost,
            self.duplicates,
            self.longest_gap.as_secs_f64(),
            words.join("; "),
        )
    }
}
