//! A service as what it is in production, a process of its own: to be killed, frozen, restarted.
//!
//! The programs are built from this workspace, in the profile of the tests, by the first process
//! that is started; or they lie in the directory `SERVICE_PROGRAMS`, built before. A process never
//! outlives the tests, however they end.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    sync::OnceCell,
    time::{Instant, timeout},
};

use crate::{OrPanic as _, eventually, http, port, rabbitmq::signal};

/// For a service that has all it needs.
const READY_DEADLINE: Duration = Duration::from_secs(30);
/// Longer than a service takes to drain.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const RUN_DEADLINE: Duration = Duration::from_secs(60);
/// Of the log of a process, when a test fails.
const LOG_LINES_SHOWN: usize = 40;
/// Waits for the end of its standard input, which comes with the end of the process that holds the
/// other end, and ends the service.
const JANITOR: &str = r#"cat >/dev/null; kill -s KILL "$1""#;

/// A service of this workspace and how it is started. It keeps its address over restarts.
pub struct Process {
    /// Where it listens.
    pub addr: SocketAddr,
    name: &'static str,
    wrapper: Vec<String>,
    program: PathBuf,
    environment: Vec<(String, String)>,
    log: PathBuf,
    client: reqwest::Client,
    running: Option<Running>,
}

struct Running {
    child: Child,
    pid: u32,
    /// Killed when this is dropped, before its standard input closes.
    _janitor: Child,
}

impl Process {
    /// Starts the program `name`, such as `broker-service`, in `dir`, where its log is too.
    pub async fn start(name: &'static str, dir: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_by(&[], name, dir, environment).await
    }

    /// The same by way of another program, which replaces itself by it: `wrapper` with the
    /// service's own command after it.
    pub async fn start_by(
        wrapper: &[&str],
        name: &'static str,
        dir: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::launch(programs().await, wrapper, name, dir, environment)
    }

    /// The same with a program that was built otherwise, and lies in `programs`.
    pub fn start_built(
        programs: &Path,
        name: &'static str,
        dir: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::launch(programs, &[], name, dir, environment)
    }

    fn launch(
        programs: &Path,
        wrapper: &[&str],
        name: &'static str,
        dir: &Path,
        environment: &[(&str, &str)],
    ) -> Self {
        let addr = port::reserve();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut process = Self {
            addr,
            name,
            wrapper: wrapper.iter().map(|word| (*word).to_owned()).collect(),
            program: programs.join(name),
            environment: environment.iter().map(owned).collect(),
            log: dir.join(format!("{name}-{}.log", addr.port())),
            client: http::client(),
            running: None,
        };
        process.start_again();
        process
    }

    /// Starts it again after it ended, at the same address, with the same environment.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "{} runs", self.name);
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.or_panic("the log of a process");
        let errors = log.try_clone().or_panic("the log of a process");
        let directory = self.log.parent().unwrap_or(Path::new("."));
        let mut command = match self.wrapper.split_first() {
            None => Command::new(&self.program),
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(&self.program);
                command
            }
        };
        let child = command
            .args(["--addr", &self.addr.to_string()])
            .envs(self.environment.iter().cloned())
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .or_panic(self.name);
        let Some(pid) = child.id() else {
            panic!("{} has no process id", self.name);
        };
        self.running = Some(Running {
            child,
            pid,
            _janitor: janitor(pid),
        });
    }

    /// URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// Whether it says that it is ready now.
    pub async fn is_ready(&self) -> bool {
        let asked = self
            .client
            .get(self.url("/readyz"))
            .timeout(Duration::from_secs(2));
        asked
            .send()
            .await
            .is_ok_and(|answer| answer.status() == 200)
    }

    /// Waits until it says that it is ready, and returns how long that took.
    pub async fn ready(&self) -> Duration {
        let asked = Instant::now();
        let what = format!("{} is ready", self.name);
        eventually(&what, READY_DEADLINE, || async {
            self.is_ready().await.then_some(())
        })
        .await;
        asked.elapsed()
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill(&mut self) {
        let mut running = self.take();
        running.child.start_kill().or_panic(self.name);
        self.gone(&mut running).await;
    }

    /// SIGTERM, and waits until the process has drained and ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let mut running = self.take();
        signal(running.pid, "TERM");
        self.gone(&mut running).await
    }

    /// Freezes the process.
    pub fn pause(&self) {
        signal(self.pid(), "STOP");
    }

    /// Lets a frozen process go on.
    pub fn resume(&self) {
        signal(self.pid(), "CONT");
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        let child = self.running.as_mut().map(|running| &mut running.child);
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        match &self.running {
            Some(running) => running.pid,
            None => panic!("{} does not run", self.name),
        }
    }

    /// Most bytes of memory that it had since it was started.
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.or_panic("/proc");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let kib: usize = kib.unwrap_or_default().parse().or_panic("VmHWM");
        kib * 1024
    }

    /// What it logged, over all its restarts.
    pub fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn take(&mut self) -> Running {
        match self.running.take() {
            Some(running) => running,
            None => panic!("{} does not run", self.name),
        }
    }

    async fn gone(&self, running: &mut Running) -> ExitStatus {
        timeout(STOP_DEADLINE, running.child.wait())
            .await
            .or_panic(&format!("{} ends in time", self.name))
            .or_panic(self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- end of the log of {}\n{}", self.name, last.join("\n"));
        }
    }
}

/// Runs the program `name` to its end, as a user does on a terminal.
pub async fn run(name: &str, arguments: &[&str]) -> Output {
    let output = Command::new(programs().await.join(name))
        .args(arguments)
        .env_remove("RUST_BACKTRACE") // what users see
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    timeout(RUN_DEADLINE, output)
        .await
        .or_panic("a program ends in time")
        .or_panic(name)
}

pub(crate) fn janitor(pid: u32) -> Child {
    Command::new("sh")
        .args(["-c", JANITOR, "janitor", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Without it, Ctrl-C on a terminal would end the janitor before its work.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .or_panic("a shell")
}

/// The directory with the services' programs, built in the profile that this program has.
async fn programs() -> &'static Path {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    BUILT.get_or_init(build).await
}

async fn build() -> PathBuf {
    if let Some(built) = std::env::var_os("SERVICE_PROGRAMS") {
        return std::fs::canonicalize(built).or_panic("SERVICE_PROGRAMS");
    }
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    // The whole workspace, as scripts/test does: its features are then resolved alike.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--workspace", "--bins", "--locked", "--quiet"])
        .args(["--profile", profile])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .status()
        .await
        .or_panic("cargo");
    assert!(status.success(), "the services do not build");
    // target/<profile>/deps/<this program>
    let own = std::env::current_exe().or_panic("the path of this program");
    let directory = own.parent().and_then(Path::parent);
    directory.map(Path::to_owned).unwrap_or_default()
}
