//! How far the trial is, and what the process needs at each tenth of it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tests::proof::Account;

use crate::resources::Resources;

const TEMPLATE: &str = "{wide_bar} {pos}/{len}  {per_sec}  {eta} left{msg}";
const TENTHS: usize = 10;
const LOOK: Duration = Duration::from_millis(50);

/// Shows the progress on a terminal until every publish has returned. What the process needed as each
/// tenth had.
pub async fn watch(account: &Account) -> Vec<Resources> {
    let publishes = account.plan.publishes;
    let bar = ProgressBar::new(publishes as u64);
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    let mut tenths = Vec::new();
    while tenths.len() < TENTHS {
        tokio::time::sleep(LOOK).await;
        let told = account.told();
        bar.set_position(told as u64);
        bar.set_message(format!("  {} open", account.open()));
        while told >= publishes * (tenths.len() + 1) / TENTHS && tenths.len() < TENTHS {
            tenths.push(Resources::now());
        }
    }
    bar.finish_and_clear();
    tenths
}
