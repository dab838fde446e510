//! The environments of test programs: the scripts that create them, and print where they are.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::OrPanic as _;

/// Most of it downloads.
const MAKE_DEADLINE: Duration = Duration::from_secs(300);

/// The output of a script in `scripts/` that creates an environment; `without` names the variable
/// that skips these tests.
pub(crate) async fn make(script: &str, without: &str) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let made = Command::new(scripts.join(script))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(MAKE_DEADLINE, made)
        .await
        .or_panic("the script ends in time")
        .or_panic(script);
    assert!(
        status.success(),
        "scripts/{script} failed; {without}=skip make test goes without.\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}
