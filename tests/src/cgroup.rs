//! A memory cgroup (cgroups(7)) for a test's process. Creating one needs root, and the controller.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::OrPanic as _;

/// A cgroup with a limit, version 1 or 2. It is removed with this, which must outlive what runs in it.
pub struct Cgroup {
    dir: PathBuf,
    events: &'static str,
}

impl Cgroup {
    /// Panics if none can be created, and says how to skip these tests.
    pub fn with_limit(bytes: usize) -> Self {
        Self::make(bytes).or_panic("no memory cgroup; CGROUP_TESTS=skip make test goes without")
    }

    fn make(bytes: usize) -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("event-gateway-test-{}-{number}", process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (parent, limit, events) = if version_1.exists() {
            (version_1, "memory.limit_in_bytes", "memory.oom_control")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max", "memory.events")
        };
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        let cgroup = Self { dir, events };
        fs::write(cgroup.dir.join(limit), bytes.to_string())?;
        Ok(cgroup)
    }

    /// What starts a program in it: a command with the program's own after it.
    pub fn wrapper(&self) -> [&str; 4] {
        let enter = r#"echo $$ >"$0/cgroup.procs" && exec "$@""#;
        ["sh", "-c", enter, self.dir.to_str().unwrap_or_default()]
    }

    /// How many of its processes the kernel ended for want of memory.
    pub fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.dir.join(self.events)).unwrap_or_default();
        let killed = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        killed.and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // One that is in use stays, and is empty after the tests.
        let _ = fs::remove_dir(&self.dir);
    }
}
