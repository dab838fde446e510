//! How much memory this process may use, according to its cgroups (cgroups(7)) and its machine.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

/// The files of version 1 and 2 with a limit in bytes. The kernel kills the process at the first
/// two, and throttles it at the third.
const LIMIT_FILES: [&str; 3] = ["memory.limit_in_bytes", "memory.max", "memory.high"];

/// The smallest limit of this process's cgroup and its visible ancestors. In a container often only
/// its own cgroup is mounted.
pub(crate) fn cgroup_bytes(root: &Path) -> Option<u64> {
    let read = |file| fs::read_to_string(root.join(file)).ok();
    let cgroups = read("proc/self/cgroup")?;
    let mounts = read("proc/self/mountinfo")?;
    let mounts = mounts.lines().filter_map(Mount::parse);
    let limits = mounts.flat_map(|mount| {
        let within = path_of(&cgroups, mount.version_1).and_then(|path| mount.below(path));
        let within = within.unwrap_or_default();
        let point = root.join(mount.point.trim_start_matches('/'));
        within
            .ancestors()
            .filter_map(|path| limit_of(&point.join(path)))
            .min()
    });
    limits.min()
}

/// `MemTotal` of /proc/meminfo (proc_meminfo(5)), which is in KiB.
pub(crate) fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Where a hierarchy that may limit memory is mounted.
struct Mount<'a> {
    /// The cgroup at the mount point.
    cgroup: &'a str,
    point: &'a str,
    version_1: bool,
}

impl<'a> Mount<'a> {
    /// Parses a line of /proc/self/mountinfo (proc_pid_mountinfo(5)): `31 23 0:28 /cgroup /point
    /// options [tags] - type source super-options`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (cgroup, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version_1 = match kind.next()? {
            "cgroup2" => false,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => true,
            _ => return None,
        };
        Some(Self {
            cgroup,
            point,
            version_1,
        })
    }

    /// The place of the cgroup `path` below the mount point; none if it is not below it, such as a
    /// host's path seen in a container.
    fn below(&self, path: &str) -> Option<PathBuf> {
        let within = Path::new(path).strip_prefix(self.cgroup).ok()?;
        let is_plain = |part| matches!(part, Component::Normal(_));
        within.components().all(is_plain).then(|| within.to_owned())
    }
}

/// The path of this process's cgroup, from a line `4:memory:/path` or, in version 2, `0::/path`.
fn path_of(cgroups: &str, version_1: bool) -> Option<&str> {
    cgroups.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = if version_1 {
            controllers.split(',').any(|name| name == "memory")
        } else {
            id == "0"
        };
        is_it.then_some(path)
    })
}

fn limit_of(cgroup: &Path) -> Option<u64> {
    let limit = |file| {
        fs::read_to_string(cgroup.join(file))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    LIMIT_FILES.into_iter().filter_map(limit).min()
}
