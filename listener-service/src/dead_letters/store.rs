//! logger-service, where the dead letters are.

use std::time::Duration;

use budget::{Budget, Share, attach};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;
use url::Url;

use crate::{
    Config,
    dead_letters::letter::{Page, StoredLetter, segment},
    http_client,
};

/// For one request; a dead letter can have many megabytes.
const DEADLINE: Duration = Duration::from_secs(20);
/// Most bytes of an answer: logger-service takes no dead letter of more, and gives none.
pub(super) const ANSWER_BYTES_MAX: usize = 96 * 1024 * 1024;

/// The HTTP interface of logger-service. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: Client,
    url: Url,
    budget: Budget,
}

/// What logger-service answers when it has done what it was asked for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Room for the body, and for what is read out of it.
    pub(super) share: Share,
}

/// Why logger-service did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// It is away, or cannot do its work now.
    #[error("logger-service {0}")]
    Away(String),
    /// There is no such dead letter.
    #[error("no dead letter with this id, nor of an event with it")]
    NotFound,
    /// The id is that of an event with several; the listing of them.
    #[error("several dead letters are of an event with this id: name one by its own id")]
    Several(Bytes),
    /// It refuses the request, and will do so again.
    #[error("logger-service answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
}

impl StoreError {
    /// Whether logger-service is away, so that trying again later may help.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl Store {
    /// # Errors
    /// When the suite's token cannot be read.
    pub(crate) fn new(config: &Config, budget: Budget) -> anyhow::Result<Self> {
        let headers = http_client::authorization(config.http.api_token_file.as_deref())?;
        Ok(Self {
            client: http_client::client(headers, DEADLINE)?,
            url: config.logger_url.clone(),
            budget,
        })
    }

    /// Stores a dead letter; `Ok` means that it is committed.
    pub(super) async fn put(&self, letter: Bytes) -> Result<(), StoreError> {
        let stored = self.ask(Method::POST, "", None, letter).await;
        stored.map(drop).map_err(no_store)
    }

    /// One dead letter, by its own id or its event's, with its data byte for byte.
    pub(super) async fn letter(&self, id: &str) -> Result<StoredLetter, StoreError> {
        let path = segment(id).ok_or(StoreError::NotFound)?;
        let exact = Some("data=base64");
        let answer = self.ask(Method::GET, &path, exact, Bytes::new()).await?;
        let mut letter: StoredLetter = answer.json()?;
        letter.data_base64.0 = attach(letter.data_base64.0, answer.share);
        Ok(letter)
    }

    /// A page of the dead letters that `query` asks for.
    pub(super) async fn page(&self, query: &str) -> Result<Page, StoreError> {
        let page = self.ask(Method::GET, "", Some(query), Bytes::new()).await;
        page.map_err(no_store)?.json()
    }

    /// Marks a dead letter as replayed, unless it died again since `death`: then it stays as it is.
    pub(super) async fn mark_replayed(&self, id: &str, death: &str) -> Result<(), StoreError> {
        let path = format!("{id}/replayed");
        let body = json!({"death": death}).to_string().into();
        match self.ask(Method::POST, &path, None, body).await {
            Err(StoreError::Refused { status, .. }) if status == StatusCode::CONFLICT => Ok(()),
            result => result.map(drop),
        }
    }

    /// Asks anything below `/dead-letters`, a path whose segments are encoded. What is not a 2xx is an
    /// error.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, StoreError> {
        let mut url = self.url.clone();
        let slash = if path.is_empty() { "" } else { "/" };
        let base = url.path().trim_end_matches('/');
        url.set_path(&format!("{base}/dead-letters{slash}{path}"));
        url.set_query(query);
        let mut request = self.client.request(method, url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let away = |error| StoreError::Away(http_client::describe(error));
        let mut answer = request.send().await.map_err(away)?;
        let share = self.share(answer.content_length()).await?;
        let mut body = BytesMut::new();
        http_client::read(&mut answer, &mut body, ANSWER_BYTES_MAX)
            .await
            .map_err(StoreError::Away)?;
        let body = body.freeze();
        check(answer.status(), &body)?;
        Ok(Answer {
            content_type: answer.headers().get(CONTENT_TYPE).cloned(),
            body,
            share,
        })
    }

    /// For an answer of so many bytes, or of as many as one may have.
    async fn share(&self, bytes: Option<u64>) -> Result<Share, StoreError> {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.unwrap_or(ANSWER_BYTES_MAX).saturating_mul(2);
        let share = timeout(DEADLINE, self.budget.take(bytes)).await;
        share.map_err(|_| StoreError::Away("has an answer that there is no memory for".to_owned()))
    }
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| StoreError::Away(format!("answered what cannot be read: {error}")))
    }
}

/// What a status means. Whatever does not speak of the request itself counts as "away": a wrong
/// token, for instance, can be mended.
fn check(status: StatusCode, body: &Bytes) -> Result<(), StoreError> {
    let message = || http_client::problem(body).unwrap_or_default();
    match status.as_u16() {
        200..300 => Ok(()),
        300 => Err(StoreError::Several(body.clone())),
        404 => Err(StoreError::NotFound),
        400 | 409 | 413 | 415 | 422 => Err(StoreError::Refused {
            status,
            message: message(),
        }),
        _ => Err(StoreError::Away(format!(
            "answered {status}: {}",
            message()
        ))),
    }
}

/// Whoever knows nothing of dead letters at all is not the logger-service that is meant.
fn no_store(error: StoreError) -> StoreError {
    match error {
        StoreError::NotFound => StoreError::Away("has no store of dead letters".to_owned()),
        error => error,
    }
}
