//! What every row is held to, and what some of them are held to besides.

use std::{collections::BTreeMap, time::Duration};

use tests::ledger::Sent;

use crate::{
    fault::{
        Fault,
        poison::{is_control, is_good_among_poison, is_poison},
    },
    row::Row,
    stage::{End, LOGGER, SINK},
};

/// From the moment a fault is healed until all is well again.
const RECOVERY_MAX: Duration = Duration::from_secs(10);
/// What RabbitMQ sends ahead on the route to the sink: the most that can be under way in it.
const IN_FLIGHT_MAX: usize = 64;
/// How much slower good events may be for the poison among them.
const POISON_FACTOR: f64 = 1.5;
/// Nothing pauses while hostile messages come: less than it takes to connect again and go on.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Ids that are shown of a violation.
const SHOWN: usize = 3;

/// Makes a row of what is left of a scenario.
pub fn judge(fault: Fault, end: End) -> Row {
    let balance = &end.balance;
    let mut violations = end.complaints.clone();
    let mut remarks = Vec::new();
    for (what, events) in [
        ("lost", &balance.lost),
        ("still in a queue", &balance.waiting),
        ("unexpected", &balance.unexpected),
    ] {
        if !events.is_empty() {
            let shown = events.iter().take(SHOWN).cloned().collect::<Vec<_>>();
            violations.push(format!("{} {what}: {}", events.len(), shown.join(", ")));
        }
    }
    if balance.accepted == 0 {
        violations.push("nothing was accepted".to_owned());
    }
    if end.recovery > RECOVERY_MAX {
        violations.push(format!("recovery took longer than {RECOVERY_MAX:?}"));
    }
    if fault == Fault::Hostile && end.longest_gap > PAUSE_MAX {
        violations.push(format!("a pause of more than {PAUSE_MAX:?}"));
    }
    let duplicates_max = duplicates_max(fault, end.injected);
    if balance.duplicates > duplicates_max {
        violations.push(format!("more than {duplicates_max} duplicates"));
    }
    if fault == Fault::Poison {
        violations.extend(wrong_dead_letters(&end));
        judge_latency(&end, &mut remarks, &mut violations);
    } else if balance.dead > 0 {
        violations.push(format!("{} dead letters", balance.dead));
    }
    let injected = if fault == Fault::Poison {
        balance.dead
    } else {
        end.injected
    };
    Row {
        fault,
        injected,
        accepted: balance.accepted,
        delivered: balance.delivered,
        dead: balance.dead,
        lost: balance.lost.len(),
        duplicates: balance.duplicates,
        longest_gap: end.longest_gap,
        recovery: end.recovery,
        remarks,
        violations,
    }
}

/// Only what takes the listener's connection to RabbitMQ, or its answer from the sink, away from it
/// can make it deliver twice, and only what was under way.
fn duplicates_max(fault: Fault, injected: usize) -> usize {
    match fault {
        Fault::Control
        | Fault::BrokerKilled
        | Fault::LoggerKilled
        | Fault::MemoryAlarm
        | Fault::DiskAlarm
        | Fault::Poison
        | Fault::Hostile => 0,
        _ => injected * IN_FLIGHT_MAX,
    }
}

/// Each poisonous event is a dead letter with its reason, and nothing else is one.
fn wrong_dead_letters(end: &End) -> Vec<String> {
    let numbers: BTreeMap<_, _> = end.ledger.accepted().collect();
    let dead: BTreeMap<_, _> = end.ledger.dead_letters(SINK).collect();
    let mut wrong = Vec::new();
    for (id, reason) in &dead {
        let sent = numbers.get(id);
        if sent.is_some_and(|sent| !is_poison(sent.number)) {
            wrong.push(format!("a good event became a dead letter: {id}"));
        }
        if !(reason.contains("422") || reason.contains("500")) {
            wrong.push(format!(
                "the reason of {id} is not the target's status: {reason}"
            ));
        }
    }
    for (id, sent) in &numbers {
        if is_poison(sent.number) && !dead.contains_key(id) {
            wrong.push(format!("poison that is no dead letter: {id}"));
        }
    }
    if dead.is_empty() {
        wrong.push("there was no poison".to_owned());
    }
    if end.ledger.dead_letters(LOGGER).next().is_some() {
        wrong.push("the logger's route has dead letters".to_owned());
    }
    wrong.truncate(SHOWN);
    wrong
}

/// The good events among the poison, beside those of the blocks without.
fn judge_latency(end: &End, remarks: &mut Vec<String>, violations: &mut Vec<String>) {
    let p99 = |chosen: fn(&Sent) -> bool| {
        let latencies = end.ledger.latencies(SINK, chosen);
        let p99 = latencies.get(latencies.len() * 99 / 100);
        p99.copied().unwrap_or_default()
    };
    let (without, with) = (p99(is_control), p99(is_good_among_poison));
    remarks.push(format!(
        "p99 of good events {:.1} ms, without poison {:.1} ms",
        with.as_secs_f64() * 1e3,
        without.as_secs_f64() * 1e3,
    ));
    if with > without.mul_f64(POISON_FACTOR) {
        violations.push(format!(
            "good events are more than {POISON_FACTOR} times slower"
        ));
    }
}
