//! One event in a hundred that its target never takes, beside as long a time without.

use std::time::Duration;

use axum::http::StatusCode;

use crate::stage::Stage;

/// Every so many-th event is poison: half of them refused for good, half of them failing.
const EVERY: u64 = 100;

/// Runs half of the time with good events only, then half of it with poison among them.
pub(super) async fn play(stage: &mut Stage<'_>, short: bool) {
    let half = Duration::from_secs(if short { 15 } else { 60 });
    // The first seconds of a process are no measure.
    stage.run(Duration::from_secs(10)).await;
    stage.drain().await;
    stage.load.resume();
    stage.phase();
    stage.run(half).await;
    stage.drain().await;
    stage.sink.answer_with(answer);
    stage.load.resume();
    stage.phase();
    stage.run(half).await;
    stage.phase();
}

/// Whether the event of this number is poison.
pub fn is_poison(number: u64) -> bool {
    number.is_multiple_of(EVERY)
}

fn answer(number: Option<u64>) -> StatusCode {
    match number {
        Some(number) if number.is_multiple_of(2 * EVERY) => StatusCode::UNPROCESSABLE_ENTITY,
        Some(number) if is_poison(number) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::OK,
    }
}
