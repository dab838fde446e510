//! One event in a hundred that its target never takes, in every second block of events.
//!
//! Blocks with poison and blocks without take turns every few seconds, so that whatever else the
//! machine does slows both of them.

use std::time::Duration;

use axum::http::StatusCode;
use tests::ledger::Sent;

use crate::stage::Stage;

/// Every so many-th event is poison: half of them refused for good, half of them failing.
const EVERY: u64 = 100;
const BLOCK: u64 = 2_000;
/// Before them nothing is measured: the first seconds of a process are no measure.
const WARM_UP: u64 = 2 * BLOCK;

/// Runs for as many blocks with poison as without.
pub(super) async fn play(stage: &mut Stage<'_>, short: bool) {
    stage.sink.answer_with(answer);
    stage
        .run(Duration::from_secs(if short { 45 } else { 130 }))
        .await;
}

/// Whether the event of this number is poison.
pub fn is_poison(number: u64) -> bool {
    is_poisoned_block(number) && number.is_multiple_of(EVERY)
}

/// Whether the request counts as a good one among poison.
pub fn is_good_among_poison(sent: &Sent) -> bool {
    sent.number >= WARM_UP && is_poisoned_block(sent.number) && !is_poison(sent.number)
}

/// Whether the request counts as one of a time without poison.
pub fn is_control(sent: &Sent) -> bool {
    sent.number >= WARM_UP && !is_poisoned_block(sent.number)
}

fn is_poisoned_block(number: u64) -> bool {
    !(number / BLOCK).is_multiple_of(2)
}

fn answer(number: Option<u64>) -> StatusCode {
    match number {
        Some(number) if is_poison(number) && number.is_multiple_of(2 * EVERY) => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Some(number) if is_poison(number) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}
