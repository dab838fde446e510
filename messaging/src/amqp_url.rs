//! `AMQP_URL`: one node of RabbitMQ, or several of one cluster.

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};

/// Seconds. RabbitMQ's own default of 60 s notices a dead peer after two minutes.
const HEARTBEAT_SECONDS: u16 = 10;

/// The nodes to connect to, tried in turn: `amqp://user:password@host:5672/vhost`, or several
/// of them separated by commas. `Display` and `Debug` never show the passwords.
///
/// ```
/// let url: messaging::AmqpUrl = "amqp://app:secret@rabbit-1/%2F,amqp://app:secret@rabbit-2/%2F".parse().unwrap();
/// assert_eq!(url.to_string(), "amqp://app:***@rabbit-1:5672/%2F,amqp://app:***@rabbit-2:5672/%2F");
/// ```
#[derive(Clone)]
pub struct AmqpUrl {
    nodes: Vec<AMQPUri>,
}

/// Why a text is no [`AmqpUrl`]. The text itself is not repeated, since it may hold a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "AMQP_URL is not of the form amqp://user:password@host:port/vhost (several, separated by commas): {0}"
)]
pub struct AmqpUrlError(String);

impl AmqpUrl {
    /// The nodes in the order in which they were given; never empty.
    pub(crate) fn nodes(&self) -> &[AMQPUri] {
        &self.nodes
    }

    /// The virtual host, of the first node.
    pub fn vhost(&self) -> &str {
        self.nodes.first().map_or("/", |node| &node.vhost)
    }
}

impl FromStr for AmqpUrl {
    type Err = AmqpUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nodes = text
            .split(',')
            .map(|node| parse_node(node.trim()).map_err(AmqpUrlError))
            .collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }
}

/// No reason repeats a part of the text: with a password that is not encoded any part may be one of it.
fn parse_node(text: &str) -> Result<AMQPUri, String> {
    let Some(rest) = without_scheme(text) else {
        return Err(format!(
            "each node begins with amqp:// or amqps://; {ENCODE}"
        ));
    };
    check_encoded(rest)?;
    let url = url::Url::parse(text).map_err(|error| format!("{error}; {ENCODE}"))?;
    let mut node: AMQPUri = text.parse().map_err(|_| {
        format!("what is percent-encoded is not UTF-8, or an option is wrong; {ENCODE}")
    })?;
    // lapin's parser takes an IPv6 address for a missing host and falls back to localhost.
    node.authority.host = match url.host() {
        Some(url::Host::Ipv6(address)) => address.to_string(),
        Some(_) => node.authority.host,
        None => return Err("the host is missing".to_owned()),
    };
    // "amqp://host/" names the virtual host "", which nobody has; the default one is meant.
    if node.vhost.is_empty() {
        node.vhost = "/".to_owned();
    }
    node.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(node)
}

const ENCODE: &str = "a user, password or virtual host is percent-encoded: \
    # is %23, % is %25, comma is %2C, / is %2F, ? is %3F and @ is %40";

fn without_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let is_known = ["amqp", "amqps"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    is_known.then_some(rest)
}

/// Refuses what ends the password early, or begins the host late: a parser takes the pieces for
/// another host, port or virtual host, and the password shows up in a log.
fn check_encoded(rest: &str) -> Result<(), String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Only the one before the host is no part of a name.
    let at_signs = rest.matches('@').count();
    let is_raw = at_signs > 1
        || (at_signs == 1 && !authority.contains('@'))
        || rest.contains('#')
        || rest.chars().any(char::is_control)
        || rest.split('%').skip(1).any(|after| !is_hex_pair(after));
    if is_raw {
        return Err(format!(
            "it holds a character that is not encoded; {ENCODE}"
        ));
    }
    Ok(())
}

fn is_hex_pair(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit);
    digits.take(2).count() == 2
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}", Redacted(node))?;
        }
        Ok(())
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

/// One node without its password, for logs.
pub(crate) struct Redacted<'a>(pub(crate) &'a AMQPUri);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = self.0;
        let scheme = match scheme {
            AMQPScheme::AMQP => "amqp",
            AMQPScheme::AMQPS => "amqps",
        };
        let (open, close) = if authority.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(
            f,
            "{scheme}://{}:***@{open}{}{close}:{}/{}",
            authority.userinfo.username,
            authority.host,
            authority.port,
            vhost.replace('/', "%2F")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AMQPUri {
        text.parse::<AmqpUrl>().unwrap().nodes[0].clone()
    }

    #[test]
    fn fills_in_what_is_left_out() {
        let node = parse("amqp://rabbit");
        assert_eq!(node.authority.port, 5672);
        assert_eq!(node.vhost, "/");
        assert_eq!(node.query.heartbeat, Some(10));
        assert_eq!(parse("amqp://rabbit/").vhost, "/");
        assert_eq!(parse("amqps://rabbit/shop").authority.port, 5671);
        assert_eq!(
            parse("amqp://rabbit/%2F?heartbeat=30").query.heartbeat,
            Some(30)
        );
    }

    #[test]
    fn keeps_an_ipv6_host() {
        let node = parse("amqp://guest:guest@[::1]:5673/%2F");
        assert_eq!(node.authority.host, "::1");
        assert_eq!(
            Redacted(&node).to_string(),
            "amqp://guest:***@[::1]:5673/%2F"
        );
    }

    #[test]
    fn never_shows_a_password() {
        let url: AmqpUrl = "amqp://app:s3cret@a/%2F,amqp://app:s3cret@b/%2F"
            .parse()
            .unwrap();
        assert!(!format!("{url} {url:?}").contains("s3cret"));
        let error = "amqp://app:s3cret@:x/".parse::<AmqpUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
        let error = "http://app:s3cret@host".parse::<AmqpUrl>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }

    #[test]
    fn what_is_not_percent_encoded_is_refused_without_repeating_it() {
        for password in [
            "s3c#ret",
            "#s3cret",
            "s3cret#",
            "s3c,ret",
            "s3cret,",
            "s3c,amqp:ret",
            "s3c?ret",
            "123?456",
            "s3c/ret",
            "12/34",
            "s3c@ret",
            "s3c%ret",
            "s3cret%",
            "s3c%2",
            "s3c%ffret",
            "s3@c/re?t#,%",
            "s3c://ret",
            "s3c,ret://",
            "s3c\tret",
        ] {
            for url in [
                format!("amqp://app:{password}@rabbit:5672/%2F"),
                format!("amqps://app:{password}@[::1]"),
                format!("amqp://app:x@rabbit-1,amqp://app:{password}@rabbit-2/"),
                format!("amqp://{password}:x@rabbit/%2F"),
                format!("app:{password}@rabbit"),
                format!("amqp:app:{password}@rabbit"),
            ] {
                let error = url.parse::<AmqpUrl>().unwrap_err();
                let said = format!("{error} {error:?}");
                assert!(
                    said.contains("percent-encoded") && said.contains("%2C"),
                    "{url}: {said}"
                );
                for part in ["s3", "c#", "ret", "123", "456", "12/", "34"] {
                    assert!(!said.contains(part), "{url}: {said}");
                }
            }
        }
    }

    #[test]
    fn what_is_percent_encoded_is_the_password() {
        let password =
            parse("amqp://app:%23%25%2C%2F%3F%40%3A!$&'()*+;=-._~:@rabbit/a%2Fb").authority;
        assert_eq!(password.userinfo.password, "#%,/?@:!$&'()*+;=-._~:");
        assert_eq!(password.host, "rabbit");
        assert_eq!(parse("AMQP://app:x@rabbit/a%40b?heartbeat=5").vhost, "a@b");
        let two: AmqpUrl = "amqp://app:x@a , amqps://app:x@b".parse().unwrap();
        assert_eq!(two.nodes.len(), 2);
    }
}
