//! The URL of a database, which may contain a password.

use std::fmt;

/// `sqlite:path/to/file.db` or `postgres://user:password@host/database`.
///
/// [`Database::open`](crate::Database::open) parses it: clap repeats values that it cannot parse,
/// and this one may contain a password. For the same reason the argument needs `hide_env_values =
/// true`, and `Debug` shows only the scheme.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Whether this names an SQLite file, for schemas that differ between the databases.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.split_once(':').map_or("?", |(scheme, _)| scheme);
        write!(f, "DatabaseUrl({scheme}:…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_password() {
        let url = DatabaseUrl::from("postgres://auth:s3cret@db/auth");
        assert_eq!(format!("{url:?}"), "DatabaseUrl(postgres:…)");
    }
}
