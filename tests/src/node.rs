//! Programs on Node, with the packages of `tests/node/package-lock.json`.
//!
//! Tests that need them are in modules named `node`, so that `scripts/test` can leave them out on
//! request. Nothing here ever skips one.

use std::path::PathBuf;

use tokio::process::Command;

use crate::{OrPanic as _, environment, program::Program};

/// Starts `program`, a file of `tests/node`, with these arguments.
pub async fn start(program: &str, arguments: &[&str]) -> Program {
    let said = environment::make("node-env", "NODE_TESTS").await;
    let lines = said.split_once('\n').ok_or(&said);
    let (node, home) = lines.or_panic("two lines");
    let mut command = Command::new(node);
    command
        .arg(PathBuf::from(home).join(program))
        .args(arguments);
    Program::start(program, command)
}
