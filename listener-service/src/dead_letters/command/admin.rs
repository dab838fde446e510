//! The HTTP interface of a running listener, from the outside.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, Response, StatusCode};
use service_kit::healthcheck;
use tokio::time::timeout;

use crate::{dead_letters::store::ANSWER_BYTES_MAX, http_client};

/// For an answer that is one document.
const DEADLINE: Duration = Duration::from_secs(60);
/// For a job of many replays, in all.
const JOB_DEADLINE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Between two lines of a job, which may wait for RabbitMQ for half a minute.
const LINE_DEADLINE: Duration = Duration::from_secs(120);
const LINE_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Admin {
    client: Client,
    base: String,
}

/// What an id names.
pub(super) enum Found {
    One(Bytes),
    /// A listing of them: the id is that of an event with several.
    Several(Bytes),
}

impl Admin {
    pub(super) fn new(addr: SocketAddr, token_file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            client: http_client::client(http_client::authorization(token_file)?, DEADLINE)?,
            base: format!("http://{}", healthcheck::reachable(addr)),
        })
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Bytes> {
        read(self.ask(Method::GET, path, DEADLINE).await?).await
    }

    /// What the id in a path names.
    pub(super) async fn one(&self, path: &str) -> anyhow::Result<Found> {
        let answer = self.ask(Method::GET, path, DEADLINE).await?;
        let is_one = answer.status() != StatusCode::MULTIPLE_CHOICES;
        let body = read(answer).await?;
        Ok(if is_one {
            Found::One(body)
        } else {
            Found::Several(body)
        })
    }

    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Bytes> {
        read(self.ask(Method::POST, path, DEADLINE).await?).await
    }

    /// An answer that comes line by line.
    pub(super) async fn lines(&self, path: &str) -> anyhow::Result<Lines> {
        Ok(Lines {
            answer: self.ask(Method::POST, path, JOB_DEADLINE).await?,
            read: BytesMut::new(),
        })
    }

    async fn ask(&self, method: Method, path: &str, limit: Duration) -> anyhow::Result<Response> {
        let Self { client, base } = self;
        let request = client.request(method, format!("{base}/{path}"));
        let answer = request.timeout(limit).send().await.map_err(|error| {
            anyhow!(
                "the listener at {base} {}; is it running there (LISTENER_ADDR)?",
                http_client::describe(error)
            )
        })?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::MULTIPLE_CHOICES {
            return Ok(answer);
        }
        let message = http_client::problem(&read(answer).await?);
        Err(anyhow!(message.unwrap_or_else(|| format!(
            "the listener answered {status}"
        ))))
    }
}

async fn read(mut answer: Response) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::new();
    http_client::read(&mut answer, &mut body, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| anyhow!("the listener {error}"))?;
    Ok(body.freeze())
}

/// The lines of an answer, as they come.
pub(super) struct Lines {
    answer: Response,
    read: BytesMut,
}

impl Lines {
    /// The next whole line, or `None` at the end.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1).freeze();
                return Ok(Some(line.slice(..end)));
            }
            ensure!(
                self.read.len() <= LINE_BYTES_MAX,
                "the listener sent no line"
            );
            let chunk = timeout(LINE_DEADLINE, self.answer.chunk())
                .await
                .context("the listener says nothing any more")?;
            match chunk {
                Ok(Some(chunk)) => self.read.extend_from_slice(&chunk),
                // A listener that is gone ends the answer in one way or another.
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}
