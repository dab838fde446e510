//! Programs in Python, with the packages of `tests/python/requirements.txt`.
//!
//! Tests that need them are in modules named `python`, so that `scripts/test` can leave them out on
//! request. Nothing here ever skips one.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, sync::OnceCell, time::timeout};

use crate::{OrPanic as _, environment};

const RUN_DEADLINE: Duration = Duration::from_secs(60);

/// The interpreter: `TEST_PYTHON`, or the one of `scripts/python-env`, which is called once.
pub async fn interpreter() -> &'static Path {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    FOUND.get_or_init(find).await
}

/// A command that runs `program`, a file of `tests/python`, and ends with the test.
pub async fn command(program: &str) -> Command {
    let mut command = Command::new(interpreter().await);
    command
        .arg(root().join("tests/python").join(program))
        .env("PYTHONUNBUFFERED", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs `program` to its end and returns what it wrote to stdout; it must exit with 0.
pub async fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = command(program).await;
    let output = timeout(RUN_DEADLINE, command.args(arguments).output())
        .await
        .or_panic("a Python program ends in time")
        .or_panic(program);
    assert!(
        output.status.success(),
        "{program}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

async fn find() -> PathBuf {
    if let Some(given) = std::env::var_os("TEST_PYTHON") {
        return given.into();
    }
    environment::make("python-env", "PYTHON_TESTS").await.into()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
