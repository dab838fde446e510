//! Patterns of event types, as in topic exchanges.

use std::{fmt, str::FromStr};

use crate::EventType;

/// Words joined by dots; `*` stands for one word and `#` for any number of them, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether it matches an event type, by RabbitMQ's rules.
    pub fn matches(&self, event_type: &str) -> bool {
        let pattern: Vec<_> = self.0.split('.').collect();
        let words: Vec<_> = event_type.split('.').collect();
        matches(&pattern, &words)
    }
}

/// Each `#` first matches no word, and then more as needed. Backtracking to the last `#` is enough,
/// because it can match everything that an earlier one could.
fn matches(pattern: &[&str], words: &[&str]) -> bool {
    let (mut at, mut word) = (0, 0);
    let mut last = None;
    while word < words.len() {
        match pattern.get(at) {
            Some(&"#") => {
                last = Some((at, word));
                at += 1;
            }
            Some(&wanted) if wanted == "*" || wanted == words[word] => {
                at += 1;
                word += 1;
            }
            _ => {
                let Some((hash, taken)) = last else {
                    return false;
                };
                last = Some((hash, taken + 1));
                (at, word) = (hash + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == "#")
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.len() <= EventType::MAX_BYTES;
        let words = text
            .split('.')
            .all(|word| matches!(word, "*" | "#") || word.parse::<EventType>().is_ok());
        if fits && words {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("\"{text}\" is not a pattern, such as order.* or #"))
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the AMQP specification says, word by word.
    fn specified(pattern: &[&str], words: &[&str]) -> bool {
        match (pattern, words) {
            ([], []) => true,
            (["#", rest @ ..], _) => (0..=words.len()).any(|skip| specified(rest, &words[skip..])),
            (["*", rest @ ..], [_, words @ ..]) => specified(rest, words),
            ([wanted, rest @ ..], [word, words @ ..]) => wanted == word && specified(rest, words),
            _ => false,
        }
    }

    #[test]
    fn words_and_wildcards_match_as_in_rabbitmq() {
        for (pattern, event_type, expected) in [
            ("order.*", "order.placed", true),
            ("order.*", "order", false),
            ("order.#", "order", true),
            ("#.placed", "order.item.placed", true),
            ("#", "anything at all", true),
            ("order.placed", "order.placed.twice", false),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.matches(event_type),
                expected,
                "{pattern} {event_type}"
            );
        }
    }

    proptest! {
        #[test]
        fn matches_what_the_specification_says(
            pattern in "(a|b|\\*|#)(\\.(a|b|\\*|#)){0,5}",
            event_type in "(a|b)(\\.(a|b)){0,6}",
        ) {
            let words: Vec<_> = event_type.split('.').collect();
            let parts: Vec<_> = pattern.split('.').collect();
            let expected = specified(&parts, &words);
            prop_assert_eq!(pattern.parse::<Pattern>().unwrap().matches(&event_type), expected);
        }
    }
}
