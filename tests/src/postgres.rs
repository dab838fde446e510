//! Private PostgreSQL servers.
//!
//! All tests of one process share one server, with a database each; a test that stops its server
//! starts its own. A server is reached only through a socket in its own directory, so it needs no
//! port, and it never outlives the tests, however this process ends.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::OnceCell,
    time::timeout,
};

use crate::OrPanic as _;

/// For one program, `initdb` being the slowest.
const PROGRAM_DEADLINE: Duration = Duration::from_secs(60);
/// PostgreSQL refuses to run as root; its packages make this user for it.
const UNPRIVILEGED_USER: &str = "postgres";
/// Waits for the end of its standard input, which comes with the end of the process that holds
/// the other end, and removes the server.
const JANITOR: &str = r#"cat; "$1/pg_ctl" -D "$2/data" -m immediate stop; rm -rf "$2""#;

/// A PostgreSQL server with its own data directory.
pub struct Server {
    programs: PathBuf,
    directory: PathBuf,
    databases: AtomicU32,
    /// Its standard input closes when this is dropped.
    _janitor: Child,
}

impl Server {
    /// Makes and starts a new server.
    pub async fn start() -> Self {
        let programs = programs().await;
        let made = run(unprivileged("mktemp").args(["-d", "-t", "postgres.XXXXXX"])).await;
        let directory = PathBuf::from(made.trim());
        let janitor = unprivileged("sh")
            .args(["-c", JANITOR, "janitor"])
            .args([&programs, &directory])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .or_panic("a shell");
        let server = Self {
            programs,
            directory,
            databases: AtomicU32::new(0),
            _janitor: janitor,
        };
        let mut initdb = server.program("initdb");
        initdb.arg("-D").arg(server.data());
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync"]);
        run(initdb.args(["--encoding=UTF8", "--locale=C.UTF-8"])).await;
        server.start_again().await;
        server
    }

    /// Makes an empty database and returns its URL.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut createdb = self.program("createdb");
        createdb.arg("--host").arg(&self.directory);
        run(createdb.args(["--username=postgres", &name])).await;
        format!(
            "postgres://postgres@localhost/{name}?host={}",
            self.directory.display()
        )
    }

    /// Ends the server as a crash would: connections break, what is committed stays.
    pub async fn stop(&self) {
        let mut pg_ctl = self.program("pg_ctl");
        pg_ctl.arg("-D").arg(self.data());
        run(pg_ctl.args(["-m", "immediate", "stop"])).await;
    }

    /// Starts the server after [`Self::stop`], with the same data.
    pub async fn start_again(&self) {
        let options = format!("-c listen_addresses='' -k {}", self.directory.display());
        let mut pg_ctl = self.program("pg_ctl");
        pg_ctl
            .arg("-D")
            .arg(self.data())
            .arg("-l")
            .arg(self.directory.join("log"));
        run(pg_ctl.args(["-o", &options, "-w", "start"])).await;
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn program(&self, name: &str) -> Command {
        unprivileged(self.programs.join(name))
    }
}

/// The URL of an empty database on the server that the tests of this process share.
pub async fn database() -> String {
    static SHARED: OnceCell<Server> = OnceCell::const_new();
    SHARED
        .get_or_init(Server::start)
        .await
        .create_database()
        .await
}

/// The directory with PostgreSQL's programs.
async fn programs() -> PathBuf {
    let need = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/need");
    let found = Command::new(need)
        .args(["--find", "postgres"])
        .output()
        .await;
    let found = found.or_panic("scripts/need");
    assert!(
        found.status.success(),
        "PostgreSQL is not installed: apt-get install postgresql, or scripts/need postgres"
    );
    let path = String::from_utf8(found.stdout).or_panic("a path");
    // What is in PATH may be a link to one program; its target has the others beside it.
    let path = fs::canonicalize(path.trim()).or_panic("the program postgres");
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// A command that is not run as root.
fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let mut command = if is_root {
        let mut runuser = Command::new("runuser");
        runuser.args(["-u", UNPRIVILEGED_USER, "--"]).arg(program);
        runuser
    } else {
        Command::new(program)
    };
    // The current directory may be one that this user cannot enter.
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Runs a program to its end and returns what it printed.
async fn run(command: &mut Command) -> String {
    let described = format!("{:?}", command.as_std());
    let output = timeout(PROGRAM_DEADLINE, command.output()).await;
    let output = output.or_panic(&described).or_panic(&described);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{described}: {errors}");
    String::from_utf8(output.stdout).or_panic(&described)
}
