//! What processes cost: their CPU time and their memory, as Linux counts them.

use std::{fs, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::time::{Instant, sleep_until};

/// Fields of `/proc/PID/stat` (proc(5)) from the state, which is the first after the name.
const UTIME: usize = 11;
const STIME: usize = 12;

/// The time in which is measured; what comes before it warms up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Window {
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let start = Instant::now() + warm_up;
        let end = start + length;
        Self { start, end }
    }

    pub(crate) fn seconds(&self) -> f64 {
        (self.end - self.start).as_secs_f64()
    }

    pub(crate) fn contains(&self, moment: Instant) -> bool {
        (self.start..self.end).contains(&moment)
    }
}

/// Processes by the names that their cost is reported under.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Vec<(&'static str, u32)>);

/// CPU time of each process of a [`Meter`], in its order.
pub(crate) type CpuTime = Vec<(&'static str, Duration)>;

impl Meter {
    pub(crate) fn new(processes: impl Into<Vec<(&'static str, u32)>>) -> Self {
        Self(processes.into())
    }

    /// CPU time of each process since its start.
    pub(crate) fn read(&self) -> anyhow::Result<CpuTime> {
        let read = |(name, pid): &(&'static str, u32)| Ok((*name, cpu_time(*pid)?));
        self.0.iter().map(read).collect()
    }

    /// CPU time of each process since `before`.
    pub(crate) fn since(&self, before: &CpuTime) -> anyhow::Result<CpuTime> {
        let mut spent = self.read()?;
        for ((_, time), (_, before)) in spent.iter_mut().zip(before) {
            *time = time.saturating_sub(*before);
        }
        Ok(spent)
    }

    /// Waits for the window to pass, and returns the CPU time that each process spent in it.
    pub(crate) async fn over(&self, window: Window) -> anyhow::Result<CpuTime> {
        sleep_until(window.start).await;
        let before = self.read()?;
        sleep_until(window.end).await;
        self.since(&before)
    }
}

/// The most memory that a process has had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    resident(pid, "VmHWM:")
}

/// The memory that a process has resident now, in bytes.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    resident(pid, "VmRSS:")
}

fn resident(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).context(path)?;
    bytes(&status, field).with_context(|| format!("no {field} of process {pid}"))
}

fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kibibytes: u64 = line?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).context(path)?;
    let ticks = ticks(&stat).ok_or_else(|| anyhow!("not what proc(5) says: {stat}"))?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks * 1_000_000 / per_second))
}

fn ticks(stat: &str) -> Option<u64> {
    // A name may contain spaces and parentheses, and is the only part in parentheses.
    let (_pid_and_name, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(UTIME);
    let [user, system] = [(); STIME - UTIME + 1].map(|()| fields.next()?.parse::<u64>().ok());
    Some(user? + system?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 90 8 7 6 120 34 3 2 20 0 4 0 55 1 2 3";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1"), None);
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\n";
        assert_eq!(bytes(status, "VmHWM:"), Some(20 * 1024));
        assert_eq!(bytes(status, "VmRSS:"), Some(10 * 1024));
    }

    #[test]
    fn sees_this_process() {
        let pid = std::process::id();
        assert!(peak_memory(pid).unwrap() > 0);
        cpu_time(pid).unwrap();
    }
}
