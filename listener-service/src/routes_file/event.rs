//! `[[route]]`: events to a target.

use std::{num::NonZeroU32, time::Duration};

use event::Pattern;
use messaging::{Format, Source, Subscription};
use toml::{Spanned, de::DeTable};

use super::{Entry, Environment, check_name, fields::Fields, flow, source, target};
use crate::routes::EventRoute;

const RETRIES_MAX: usize = 20;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const FIELDS: &str = "name, exchange, queue, bindings, types, format, target, target_headers, \
    bearer_token_file, signing_secrets, mode, forward, http2, timeout_ms, concurrency, prefetch, \
    retry_ms, rate_per_second and ordered";

pub(super) fn read(
    table: Spanned<DeTable<'_>>,
    environment: &Environment<'_>,
) -> Entry<EventRoute> {
    let mut fields = Fields::new("a route", table);
    let name = fields.required("name", check_name);
    if let Some(name) = &name {
        fields.describe(format!("route \"{name}\""));
    }
    let source = source::of_events(&mut fields, name.as_deref().unwrap_or_default());
    let format = fields.optional("format", check_format).unwrap_or_default();
    let types = fields.optional("types", check_types).unwrap_or_default();
    let target = target::read(&mut fields, environment);
    let timeout = target.as_ref().map(|target| target.timeout);
    let subscription = subscription(&mut fields, name.clone(), source, (format, types), timeout);
    let (at, mistakes) = fields.finish(FIELDS);
    let route = subscription
        .zip(target)
        .map(|(subscription, target)| EventRoute {
            subscription,
            target,
            answers_for: None,
        });
    Entry {
        at,
        name,
        route,
        mistakes,
    }
}

/// The common part of a route and a request with a durable answer. Reads all fields, even without a
/// valid name or source.
pub(super) fn subscription(
    fields: &mut Fields<'_>,
    name: Option<String>,
    source: Option<Source>,
    (format, types): (Format, Vec<Pattern>),
    timeout: Option<Duration>,
) -> Option<Subscription> {
    let ordered = fields.optional("ordered", Ok).unwrap_or(false);
    if ordered && fields.has("concurrency") {
        fields.mistake("an ordered route handles one event at a time: leave concurrency out");
    }
    let is_exclusive = source
        .as_ref()
        .is_some_and(|source| source.queue.is_exclusive());
    let flow = flow(fields, ordered || is_exclusive);
    let (concurrency, prefetch) = if ordered {
        (1, 1)
    } else {
        (flow.concurrency, flow.prefetch)
    };
    let rate_per_second = fields.optional("rate_per_second", |rate: u32| {
        NonZeroU32::new(rate).ok_or_else(|| "it must be 1 or more".to_owned())
    });
    let retries = fields.optional("retry_ms", check_retries);
    let subscription = Subscription {
        name: name?,
        source: source?,
        format,
        types,
        retries: retries.unwrap_or_else(|| Subscription::RETRIES.into()),
        concurrency,
        prefetch,
        rate_per_second,
        ordered,
    };
    check_rate(fields, &subscription);
    check_time_in_hand(fields, &subscription, timeout?);
    Some(subscription)
}

fn check_rate(fields: &mut Fields<'_>, subscription: &Subscription) {
    let Some(rate) = subscription.rate_per_second else {
        return;
    };
    let seconds = u32::from(subscription.prefetch).div_ceil(rate.get());
    if Duration::from_secs(seconds.into()) > Subscription::AHEAD_MAX {
        fields.mistake(format!(
            "a prefetch of {} (twice the concurrency by default) at rate_per_second = {rate} \
             lasts for {seconds} s: above {} s RabbitMQ would take the events back",
            subscription.prefetch,
            Subscription::AHEAD_MAX.as_secs()
        ));
    }
}

fn check_time_in_hand(fields: &mut Fields<'_>, subscription: &Subscription, timeout: Duration) {
    let attempts = u32::try_from(subscription.retries.len() + 1).unwrap_or(u32::MAX);
    let longest = subscription.retries.iter().sum::<Duration>() + timeout * attempts;
    if subscription.waits_in_hand() && longest > Subscription::IN_HAND_MAX {
        fields.mistake(format!(
            "its events wait in the listener for their next attempt, and retry_ms with one \
             timeout_ms per attempt add up to {} s: above {} s RabbitMQ would take the event \
             back",
            longest.as_secs(),
            Subscription::IN_HAND_MAX.as_secs()
        ));
    }
}

fn check_types(types: Vec<String>) -> Result<Vec<Pattern>, String> {
    types.iter().map(|text| text.parse()).collect()
}

fn check_format(format: String) -> Result<Format, String> {
    match format.as_str() {
        "cloudevents" => Ok(Format::CloudEvents),
        "celery" => Ok(Format::Celery),
        "nestjs" => Ok(Format::NestJs),
        _ => Err("it must be cloudevents (which reads any message), celery or nestjs".to_owned()),
    }
}

fn check_retries(waits: Vec<u64>) -> Result<Vec<Duration>, String> {
    if waits.len() > RETRIES_MAX {
        return Err(format!("there are more than {RETRIES_MAX} waits"));
    }
    let waits: Vec<_> = waits.into_iter().map(Duration::from_millis).collect();
    if waits.iter().any(|wait| wait.is_zero() || *wait > DAY) {
        return Err("a wait must be from 1 ms to one day".to_owned());
    }
    Ok(waits)
}
