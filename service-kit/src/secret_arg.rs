//! Arguments that may hold a password.

use std::ffi::OsStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

/// Parses an argument without ever repeating it: clap's own parsers quote a value that does not
/// parse. Set `hide_env_values = true` on the argument as well.
#[derive(Clone)]
pub struct SecretArg<T>(PhantomData<T>);

impl<T> SecretArg<T> {
    /// The parser.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for SecretArg<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TypedValueParser for SecretArg<T>
where
    T: FromStr<Err: Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let refuse = |reason: String| {
            let name = arg.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{name}': {reason}\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
        };
        let text = value
            .to_str()
            .ok_or_else(|| refuse("not UTF-8".to_owned()))?;
        text.parse()
            .map_err(|error: T::Err| refuse(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[arg(long, value_parser = SecretArg::<u8>::new())]
        secret: u8,
    }

    #[test]
    fn a_value_that_does_not_parse_is_not_shown() {
        let error = Cli::try_parse_from(["x", "--secret", "s3cret"]).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("--secret") && shown.contains("invalid digit"),
            "{shown}"
        );
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(
            Cli::try_parse_from(["x", "--secret", "7"]).unwrap().secret,
            7
        );
    }
}
