//! What the process needs, as Linux and tokio tell it, and whether that grows.

use std::{
    fmt::{self, Display, Formatter},
    fs,
    time::Duration,
};

use tests::OrPanic as _;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep},
};

/// Threads that wait for work to block on go after 10 s without it.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// Memory that may be added to the plateau: an allocator gives back what it likes.
const RSS_TOLERANCE_KIB: usize = 16 * 1024;

/// What the first loss of a connection adds, once: async-compat, under lapin, then starts a runtime of
/// its own for what goes on outside of tokio's threads.
const RUNTIME_THREADS: usize = 1;
const RUNTIME_FILES: usize = 4;

/// What a process needs at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    rss_kib: usize,
    threads: usize,
    files: usize,
    tasks: usize,
}

/// What was needed in the course of a trial, and what has grown.
pub struct Leaks {
    moments: Vec<(String, Resources)>,
    /// What has grown, in words.
    pub found: Vec<String>,
}

impl Resources {
    /// What this process needs now.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").or_panic("/proc/self/status");
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        Self {
            rss_kib: value("VmRSS:"),
            threads: value("Threads:"),
            files: fs::read_dir("/proc/self/fd").or_panic("/proc").count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        }
    }

    /// What is more than before, though it should be the same whatever was lost in between.
    fn growth(&self, before: &Self, plateau_kib: usize, losses: usize) -> Vec<String> {
        // One left behind by every second loss would be found.
        let slack = losses / 2;
        let (threads, files) = match losses {
            0 => (0, 0),
            _ => (RUNTIME_THREADS, RUNTIME_FILES),
        };
        let mut found = Vec::new();
        for (what, now, then) in [
            ("threads", self.threads, before.threads + threads),
            ("open files", self.files, before.files + files),
            ("tasks", self.tasks, before.tasks),
        ] {
            if now > then + slack {
                found.push(format!("{what}: {now} after {then}"));
            }
        }
        if self.rss_kib > plateau_kib + RSS_TOLERANCE_KIB {
            found.push(format!("memory: {} KiB after {plateau_kib}", self.rss_kib));
        }
        found
    }
}

/// Compares what is needed at the end with what was needed before the trial, and, for memory, with
/// what was needed early in it.
pub async fn leaks(before: Resources, tenths: &[Resources], losses: usize) -> Leaks {
    let early = tenths.iter().take(2);
    let plateau_kib = early.map(|tenth| tenth.rss_kib).max().unwrap_or(0);
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let (after, found) = loop {
        let after = Resources::now();
        let found = after.growth(&before, plateau_kib, losses);
        if found.is_empty() || Instant::now() > deadline {
            break (after, found);
        }
        sleep(Duration::from_millis(200)).await;
    };
    let mut moments = vec![("before".to_owned(), before)];
    for (index, tenth) in tenths.iter().enumerate() {
        moments.push((format!("{} %", (index + 1) * 10), *tenth));
    }
    moments.push(("after".to_owned(), after));
    Leaks { moments, found }
}

impl Display for Leaks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| published | memory | threads | open files | tasks |")?;
        write!(f, "|---|--:|--:|--:|--:|")?;
        for (moment, resources) in &self.moments {
            let Resources {
                rss_kib,
                threads,
                files,
                tasks,
            } = resources;
            let mib = *rss_kib / 1024;
            write!(
                f,
                "\n| {moment} | {mib} MiB | {threads} | {files} | {tasks} |"
            )?;
        }
        for found in &self.found {
            write!(f, "\n\nLEAKED: {found}")?;
        }
        Ok(())
    }
}
