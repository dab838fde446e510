//! The judge: each verdict against what RabbitMQ gave back.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use crate::proof::{Account, Destination, Verdict};

/// Numbers that are named for each violation.
const EXAMPLES_MAX: usize = 10;

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A publish did not return.
    Untold,
    /// Taken, and the queue never held it.
    TakenNotHeld,
    /// Taken, though its key has no queue.
    TakenNowhere,
    /// Unroutable, though its key has a queue.
    UnroutableBound,
    /// Refused by a queue that cannot be full.
    NackedNotFull,
    /// Said to be in no queue, and one held it.
    RefusedHeld,
    /// Held more than once, and it was published once.
    HeldTwice,
    /// Messages in the wrong queue, or that nobody published.
    Stray,
    /// More fates were left open than publishes can have been on their way at the losses.
    OpenTooOften,
    /// A kind of verdict never came up, so that this trial says nothing of it.
    Hollow,
}

/// What was said and what was held, in numbers, and what of it must not be.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    rows: BTreeMap<(usize, Verdict), Row>,
    /// How often, and some of the numbers.
    pub violations: BTreeMap<Violation, (usize, Vec<usize>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    publishes: usize,
    held: usize,
    violated: usize,
}

impl Judgement {
    /// Judges an account to which nothing is added any more.
    pub fn of(account: &Account) -> Self {
        let mut judgement = Self::default();
        for number in 0..account.plan.publishes {
            judgement.judge(number, account);
        }
        judgement.judge_whole(account);
        judgement
    }

    /// How many publishes had this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let rows = self.rows.iter().filter(|((_, of), _)| *of == verdict);
        rows.map(|(_, row)| row.publishes).sum()
    }

    fn judge(&mut self, number: usize, account: &Account) {
        let destination = account.plan.destination(number);
        let (verdict, held) = (account.verdict(number), account.held(number));
        let violations = violations(destination, verdict, held);
        let row = self.rows.entry((destination as usize, verdict));
        let row = row.or_default();
        row.publishes += 1;
        row.held += usize::from(held > 0);
        row.violated += usize::from(!violations.is_empty());
        for violation in violations {
            let (times, examples) = self.violations.entry(violation).or_default();
            *times += 1;
            if examples.len() < EXAMPLES_MAX {
                examples.push(number);
            }
        }
    }

    fn judge_whole(&mut self, account: &Account) {
        let plan = &account.plan;
        let open: usize = Verdict::ALL
            .into_iter()
            .filter(|verdict| verdict.is_open())
            .map(|verdict| self.count(verdict))
            .sum();
        let came_up = |expected: bool, count: usize| usize::from(expected && count == 0);
        let hollow = came_up(true, self.count(Verdict::Taken))
            + came_up(plan.unroutable_percent > 0, self.count(Verdict::Unroutable))
            + came_up(plan.full_percent > 0, self.count(Verdict::Nacked))
            + came_up(plan.losses > 0, open);
        for (violation, times) in [
            (Violation::Stray, account.strays()),
            (
                Violation::OpenTooOften,
                open.saturating_sub(plan.losses * plan.in_flight),
            ),
            (Violation::Hollow, hollow),
        ] {
            if times > 0 {
                self.violations.insert(violation, (times, Vec::new()));
            }
        }
    }
}

fn violations(destination: Destination, verdict: Verdict, held: u8) -> Vec<Violation> {
    let taken = verdict == Verdict::Taken;
    [
        (verdict == Verdict::Untold, Violation::Untold),
        (
            taken && destination.has_queue() && held == 0,
            Violation::TakenNotHeld,
        ),
        (taken && !destination.has_queue(), Violation::TakenNowhere),
        (
            verdict == Verdict::Unroutable && destination.has_queue(),
            Violation::UnroutableBound,
        ),
        (
            verdict == Verdict::Nacked && !destination.can_be_full(),
            Violation::NackedNotFull,
        ),
        (verdict.is_refusal() && held > 0, Violation::RefusedHeld),
        (held > 1, Violation::HeldTwice),
    ]
    .into_iter()
    .filter_map(|(is_so, violation)| is_so.then_some(violation))
    .collect()
}

/// The table in Markdown, then what must not be.
impl Display for Judgement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| key | verdict | publishes | in their queue | false |")?;
        writeln!(f, "|---|---|--:|--:|--:|")?;
        for ((destination, verdict), row) in &self.rows {
            let key = Destination::ALL[*destination].key();
            let Row {
                publishes,
                held,
                violated,
            } = row;
            writeln!(
                f,
                "| `{key}` | {verdict:?} | {publishes} | {held} | {violated} |"
            )?;
        }
        for (violation, (times, examples)) in &self.violations {
            write!(f, "\nVIOLATED: {violation:?}, {times} times")?;
            if !examples.is_empty() {
                write!(f, ", for instance {examples:?}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Plan;

    /// An account without fault, that can be made to lie.
    struct Story {
        account: Account,
    }

    impl Story {
        fn honest() -> Self {
            let plan = Plan {
                publishes: 1_000,
                unroutable_percent: 10,
                full_percent: 10,
                losses: 1,
                in_flight: 8,
                channels: 1,
            };
            let story = Self {
                account: Account::new(plan),
            };
            for number in 0..1_000 {
                match story.account.plan.destination(number) {
                    _ if number < 8 => story.account.tell(number, Verdict::Unknown),
                    Destination::Nowhere => story.account.tell(number, Verdict::Unroutable),
                    Destination::FullQuorum | Destination::FullClassic if number % 2 == 0 => {
                        story.account.tell(number, Verdict::Nacked);
                    }
                    destination => {
                        story.account.tell(number, Verdict::Taken);
                        story.account.hold(destination, &number.to_string());
                    }
                }
            }
            story
        }

        /// A number to `destination` of which nobody has left anything open.
        fn number(&self, destination: Destination, verdict: Verdict) -> usize {
            let plan = &self.account.plan;
            (8..plan.publishes)
                .find(|n| {
                    plan.destination(*n) == destination && self.account.verdict(*n) == verdict
                })
                .unwrap()
        }

        fn violations(&self) -> Vec<(Violation, usize)> {
            let judgement = Judgement::of(&self.account);
            let violations = judgement.violations.into_iter();
            violations.map(|(what, (times, _))| (what, times)).collect()
        }
    }

    #[test]
    fn an_honest_account_is_let_pass() {
        assert_eq!(Story::honest().violations(), []);
    }

    #[test]
    fn a_false_verdict_of_each_kind_is_found() {
        use Destination::{Bound, FullClassic, FullQuorum, Nowhere};
        use Verdict::{
            Blocked, Disconnected, Forbidden, Nacked, Overloaded, Taken, Unroutable, Untold,
        };
        for (destination, truth, told, violations) in [
            (Bound, Taken, Untold, vec![Violation::Untold]),
            (FullQuorum, Nacked, Taken, vec![Violation::TakenNotHeld]),
            (FullClassic, Nacked, Taken, vec![Violation::TakenNotHeld]),
            (Nowhere, Unroutable, Taken, vec![Violation::TakenNowhere]),
            (
                Bound,
                Taken,
                Unroutable,
                vec![Violation::UnroutableBound, Violation::RefusedHeld],
            ),
            (
                FullClassic,
                Nacked,
                Unroutable,
                vec![Violation::UnroutableBound],
            ),
            (Nowhere, Unroutable, Nacked, vec![Violation::NackedNotFull]),
            (FullQuorum, Taken, Nacked, vec![Violation::RefusedHeld]),
            (Bound, Taken, Forbidden, vec![Violation::RefusedHeld]),
            (Bound, Taken, Blocked, vec![Violation::RefusedHeld]),
            (Bound, Taken, Disconnected, vec![Violation::RefusedHeld]),
            (Bound, Taken, Overloaded, vec![Violation::RefusedHeld]),
        ] {
            let story = Story::honest();
            let number = story.number(destination, truth);
            story.account.tell(number, told);
            let expected: Vec<_> = violations.into_iter().map(|what| (what, 1)).collect();
            assert_eq!(
                story.violations(),
                expected,
                "{destination:?} {truth:?} told as {told:?}"
            );
        }
    }

    #[test]
    fn a_message_that_is_lost_doubled_or_astray_is_found() {
        let story = Story::honest();
        let number = story.number(Destination::Bound, Verdict::Taken);
        let id = number.to_string();
        story.account.hold(Destination::Bound, &id);
        assert_eq!(story.violations(), [(Violation::HeldTwice, 1)]);

        for (queue, id) in [
            (Destination::FullClassic, id.as_str()),
            (Destination::Bound, "1000"),
            (Destination::Bound, ""),
        ] {
            let story = Story::honest();
            story.account.hold(queue, id);
            assert_eq!(story.violations(), [(Violation::Stray, 1)]);
        }
    }

    #[test]
    fn fates_left_open_without_need_are_found() {
        let story = Story::honest();
        for verdict in [Verdict::Unknown, Verdict::Timeout, Verdict::Stalled] {
            let number = story.number(Destination::Bound, Verdict::Taken);
            story.account.tell(number, verdict);
        }
        assert_eq!(story.violations(), [(Violation::OpenTooOften, 3)]);
    }

    #[test]
    fn a_trial_that_tries_nothing_is_found() {
        let story = Story::honest();
        for number in 0..1_000 {
            story.account.tell(number, Verdict::Disconnected);
        }
        let violations = story.violations();
        assert!(
            violations.contains(&(Violation::Hollow, 4)),
            "{violations:?}"
        );
    }
}
