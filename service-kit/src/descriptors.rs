//! How many connections fit into the limit of open file descriptors (`RLIMIT_NOFILE`).
//!
//! At the limit nothing can be opened: no database, no connection to RabbitMQ or to a target. So
//! the server reserves descriptors for them, and accepts fewer connections if the limit is low.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For everything except client connections.
const OTHERS: u64 = 256;

/// How many connections to accept at one time: `wanted`, or as many as fit.
pub(crate) fn connections(wanted: usize) -> usize {
    let limit = raise(wanted);
    let connections = room(limit).map_or(wanted, |room| room.min(wanted));
    if connections < wanted {
        tracing::warn!(
            connections,
            wanted,
            descriptors = limit,
            "the limit of open files leaves room for fewer connections: raise it (ulimit -n)"
        );
    }
    connections
}

/// Raises the soft limit as far as `wanted` needs and the hard limit allows. Returns the limit in
/// force, or nothing if there is none.
fn raise(wanted: usize) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = u64::try_from(wanted).ok()?.saturating_add(OTHERS);
    let soft = current?;
    let possible = maximum.map_or(needed, |hard| hard.min(needed));
    if possible <= soft {
        return Some(soft);
    }
    let raised = Rlimit {
        current: Some(possible),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Some(possible),
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            Some(soft)
        }
    }
}

/// The connections that fit into a limit: at most half of a low one.
fn room(limit: Option<u64>) -> Option<usize> {
    let limit = limit?;
    let room = limit - OTHERS.min(limit.div_ceil(2));
    usize::try_from(room).ok().map(|room| room.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_keep_their_share_of_a_limit() {
        for (limit, left) in [
            (0, 1),
            (1, 1),
            (64, 32),
            (512, 256),
            (1024, 768),
            (20_000, 19_744),
        ] {
            assert_eq!(room(Some(limit)), Some(left), "{limit}");
        }
        assert_eq!(room(None), None);
    }

    #[test]
    fn nobody_is_given_more_connections_than_wanted() {
        assert_eq!(connections(1), 1);
    }
}
