//! `[[request]]`: requests to a service, which a target answers.

use messaging::{Binding, Exchange, ExchangeKind, Format, Queue, Source, topology};
use toml::{Spanned, de::DeTable};

use super::{
    Entry, Environment, check_key, check_name, event, fields::Fields, flow, source, target,
};
use crate::routes::{EventRoute, RequestRoute};

const FIELDS: &str = "service and key, or name and queue; format, target, target_headers, \
    bearer_token_file, signing_secrets, mode, forward, http2, timeout_ms, concurrency, prefetch and reply; \
    with reply = \"response-exchange\" also retry_ms, rate_per_second and ordered";

/// The kinds of `[[request]]`.
pub(super) enum Read {
    /// Its sender waits briefly, at its own queue.
    Awaited(Entry<RequestRoute>),
    /// Its answer goes through an exchange into a durable queue.
    Durable(Entry<EventRoute>),
}

#[derive(PartialEq, Eq)]
enum ReplyBy {
    ReplyTo,
    ResponseExchange,
}

pub(super) fn read(table: Spanned<DeTable<'_>>, environment: &Environment<'_>) -> Read {
    let mut fields = Fields::new("a request route", table);
    let reply = fields
        .optional("reply", check_reply)
        .unwrap_or(ReplyBy::ReplyTo);
    let of_service = fields.has("service") || !fields.has("queue");
    let name = fields.required(if of_service { "service" } else { "name" }, check_name);
    if let Some(name) = &name {
        fields.describe(format!("request route \"{name}\""));
    }
    let source = if of_service {
        let key = fields.required("key", |key: String| check_key(&key).map(|()| key));
        name.as_deref()
            .zip(key)
            .map(|(service, key)| to_service(service, key))
    } else {
        plain_queue(&mut fields)
    };
    let format = fields.optional("format", check_format).unwrap_or_default();
    if format == Format::NestJs && reply == ReplyBy::ResponseExchange {
        fields.mistake("NestJS expects answers in the queue of reply_to: leave reply out");
    }
    let target = target::read(&mut fields, environment);
    if reply == ReplyBy::ReplyTo {
        let flow = flow(&mut fields, false);
        let (at, mistakes) = fields.finish(FIELDS);
        let parts = name.clone().zip(source).zip(target);
        let route = parts.map(|((name, source), target)| RequestRoute {
            name,
            source,
            format,
            flow,
            target,
        });
        return Read::Awaited(Entry {
            at,
            name,
            route,
            mistakes,
        });
    }
    if !of_service {
        fields.mistake("a response exchange requires service and key");
    }
    let timeout = target.as_ref().map(|target| target.timeout);
    let read_as = (format, Vec::new());
    let subscription = event::subscription(&mut fields, name.clone(), source, read_as, timeout);
    let (at, mistakes) = fields.finish(FIELDS);
    let route = subscription
        .zip(target)
        .map(|(subscription, target)| EventRoute {
            subscription,
            target,
            answers_for: name.clone(),
        });
    Read::Durable(Entry {
        at,
        name,
        route,
        mistakes,
    })
}

fn to_service(service: &str, key: String) -> Source {
    Source {
        exchange: Some(Exchange {
            name: topology::request_exchange(service),
            kind: ExchangeKind::Direct,
            existing: false,
        }),
        queue: Queue::Own(topology::request_queue(service)),
        bindings: vec![Binding::Key(key)],
    }
}

/// A queue to which requests are sent by name.
fn plain_queue(fields: &mut Fields<'_>) -> Option<Source> {
    let queue = source::queue(fields, "")?;
    if queue.is_exclusive() {
        fields.mistake("an exclusive queue has no known name to which requests could be sent");
        return None;
    }
    Some(Source {
        exchange: None,
        queue,
        bindings: Vec::new(),
    })
}

fn check_format(format: String) -> Result<Format, String> {
    match format.as_str() {
        "cloudevents" => Ok(Format::CloudEvents),
        "nestjs" => Ok(Format::NestJs),
        _ => Err("it must be cloudevents (which reads any message) or nestjs".to_owned()),
    }
}

fn check_reply(reply: String) -> Result<ReplyBy, String> {
    match reply.as_str() {
        "reply-to" => Ok(ReplyBy::ReplyTo),
        "response-exchange" => Ok(ReplyBy::ResponseExchange),
        _ => Err("it must be reply-to or response-exchange".to_owned()),
    }
}
