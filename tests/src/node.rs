//! Programs on Node, with the packages of `tests/node/package-lock.json`.
//!
//! Tests that need them are in modules named `node`, so that `scripts/test` can leave them out where
//! somebody says so. Nothing here ever skips one.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::{OrPanic as _, program::Program};

/// For making the environment, most of it downloads.
const MAKE_DEADLINE: Duration = Duration::from_secs(300);

/// Starts `program`, a file of `tests/node`, with these arguments.
pub async fn start(program: &str, arguments: &[&str]) -> Program {
    let script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/node-env"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(MAKE_DEADLINE, script)
        .await
        .or_panic("scripts/node-env ends in time")
        .or_panic("scripts/node-env");
    assert!(
        status.success(),
        "no Node for the tests; NODE_TESTS=skip make test goes without.\n{}",
        String::from_utf8_lossy(&stderr)
    );
    let said = String::from_utf8_lossy(&stdout);
    let lines = said.trim_end().split_once('\n').ok_or(&said);
    let (node, home) = lines.or_panic("two lines");
    let mut command = Command::new(node);
    command
        .arg(PathBuf::from(home).join(program))
        .args(arguments);
    Program::start(program, command)
}
