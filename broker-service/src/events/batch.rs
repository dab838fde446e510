//! A batch of CloudEvents: each is accepted or refused by itself.
//!
//! They are published in their order, and none waits for the confirm of the one before, which makes a
//! batch much faster than its events one after the other. All share one deadline.

mod sequence;

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use event::{structured, trace::Trace};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::{Value, json};
use service_kit::{json, problem::Problem};
use tokio::time::Instant;

use self::sequence::Sequence;
use crate::{
    App, cloud_event, idempotency,
    publication::{PUBLISHED, Publication},
};

/// Most events of a batch.
const EVENTS_MAX: usize = 1000;
/// Of the memory budget, for each event beside its bytes: what is made of it, and its result.
const EVENT_BYTES: usize = 2 * 1024;
/// Events of one batch that are on their way at one time. Beyond some hundreds RabbitMQ gets no
/// faster.
const AT_ONCE: usize = 256;
/// The same of all batches together: no more than half of what the publisher lets wait, so that they
/// never leave single events without a place.
pub(crate) const ALL_AT_ONCE: usize = 512;

/// What became of one event: its id, or why it was not accepted.
type Outcome = Result<String, Refused>;
/// Why an event was not accepted, with its id as far as it can be read.
type Refused = (Option<String>, Problem);

pub(super) async fn publish(
    app: &Arc<App>,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Response, Problem> {
    if idempotency::is_asked_for(headers) {
        return Err(Problem::bad_request(
            "a batch takes no Idempotency-Key: the id of each event says that it is the same one",
        ));
    }
    let trace = Trace::read(headers);
    let items = json::parse_array(body, EVENTS_MAX)?;
    let _share = app.memory.take(items.len() * EVENT_BYTES).await?;
    let items: Vec<_> = items
        .into_iter()
        .map(|item| read(body, item.get().as_bytes(), trace.as_ref()))
        .collect();
    let deadline = Instant::now() + app.publish_timeout;
    let checked = stream::iter(items)
        .map(|item| check(app, item))
        .buffered(AT_ONCE);
    let sequence = Sequence::new(app, deadline);
    let outcomes: Vec<_> = sequence
        .send_all(checked)
        .map(|sent| async move { sent?.confirmed().await })
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(answer(&outcomes))
}

fn read(body: &Bytes, item: &[u8], trace: Option<&Trace>) -> Result<Publication, Refused> {
    let mut publication = cloud_event::read_structured(body, item)
        .map_err(|problem| (structured::id_of(item), problem))?;
    publication.carry_on(trace);
    Ok(publication)
}

async fn check(app: &App, item: Result<Publication, Refused>) -> Result<Publication, Refused> {
    let publication = item?;
    let checked = app.schemas.check(&publication.event).await;
    match checked {
        Ok(()) => Ok(publication),
        Err(problem) => Err((Some(publication.event.id), problem)),
    }
}

/// 202 when all were accepted, 207 when some were; and when none was, for one and the same reason,
/// that reason, so that who only looks at the status knows enough.
fn answer(outcomes: &[Outcome]) -> Response {
    let results: Vec<_> = outcomes.iter().enumerate().map(result).collect();
    let failures: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .map(|(_, problem)| problem)
        .collect();
    let Some(first) = failures.first() else {
        return Answer::new(false, PUBLISHED, results).with_status(StatusCode::ACCEPTED);
    };
    let message = format!(
        "{} of {} events were not accepted",
        failures.len(),
        outcomes.len()
    );
    let retry_after = failures
        .iter()
        .find_map(|problem| problem.headers().get(header::RETRY_AFTER))
        .cloned();
    let is_common = failures.len() == outcomes.len()
        && failures
            .iter()
            .all(|problem| problem.code() == first.code());
    let mut response = if is_common {
        let message = format!("{message}: {}", first.message());
        Problem::new(first.status(), first.code(), message)
            .with_extension("data", json!({"results": results}))
            .into_response()
    } else {
        Answer::new(true, &message, results).with_status(StatusCode::MULTI_STATUS)
    };
    if let Some(retry_after) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, retry_after);
    }
    response
}

#[derive(Serialize)]
struct Answer<'a> {
    error: bool,
    message: &'a str,
    data: Value,
}

impl<'a> Answer<'a> {
    fn new(error: bool, message: &'a str, results: Vec<Value>) -> Self {
        let data = json!({"results": results});
        Self {
            error,
            message,
            data,
        }
    }

    fn with_status(self, status: StatusCode) -> Response {
        (status, Json(self)).into_response()
    }
}

/// What a client needs in order to know what to do with this event next.
fn result((index, outcome): (usize, &Outcome)) -> Value {
    match outcome {
        Ok(id) => json!({"index": index, "id": id, "status": 202}),
        Err((id, problem)) => {
            let mut result = problem.to_json();
            if let Value::Object(members) = &mut result {
                for same_as_message in ["title", "detail", "error"] {
                    members.remove(same_as_message);
                }
                members.insert("index".to_owned(), json!(index));
                if let Some(id) = id {
                    members.insert("id".to_owned(), json!(id));
                }
            }
            result
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn unavailable() -> Outcome {
        let problem = Problem::unavailable("away", Duration::from_secs(5));
        Err((Some("b".to_owned()), problem))
    }

    fn status_and_wait(outcomes: &[Outcome]) -> (u16, bool) {
        let response = answer(outcomes);
        let waits = response.headers().contains_key(header::RETRY_AFTER);
        (response.status().as_u16(), waits)
    }

    #[test]
    fn the_status_tells_all_from_some_from_none() {
        let accepted = || Ok("a".to_owned());
        let wrong = || Err((None, Problem::bad_request("wrong")));
        assert_eq!(status_and_wait(&[]), (202, false));
        assert_eq!(status_and_wait(&[accepted(), accepted()]), (202, false));
        assert_eq!(status_and_wait(&[accepted(), wrong()]), (207, false));
        assert_eq!(status_and_wait(&[accepted(), unavailable()]), (207, true));
        assert_eq!(status_and_wait(&[wrong(), unavailable()]), (207, true));
        assert_eq!(status_and_wait(&[wrong(), wrong()]), (400, false));
        assert_eq!(
            status_and_wait(&[unavailable(), unavailable()]),
            (503, true)
        );
    }

    #[test]
    fn a_result_says_what_to_do() {
        assert_eq!(
            result((3, &unavailable())),
            json!({"index": 3, "id": "b", "status": 503, "type": "urn:problem:unavailable",
                "message": "away"})
        );
        let unread = Err((None, Problem::bad_request("wrong")));
        assert_eq!(
            result((0, &unread)),
            json!({"index": 0, "status": 400, "type": "urn:problem:bad-request", "message": "wrong"})
        );
    }
}
