use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const MIB: usize = 1024 * 1024;

#[test]
fn a_share_grows_shrinks_and_comes_back() {
    let budget = Budget::new(100);
    let mut share = budget.try_take(60).unwrap();
    assert!(budget.try_take(41).is_none());
    assert!(share.try_grow(40));
    assert!(!share.try_grow(1) && !share.try_grow(usize::MAX));
    assert_eq!((share.bytes(), budget.in_use()), (100, 100));
    share.shrink(10);
    share.shrink(20);
    assert_eq!((share.bytes(), budget.in_use()), (10, 10));
    drop(share);
    assert_eq!(budget.in_use(), 0);
}

#[test]
fn a_share_travels_with_its_bytes_to_the_last_slice() {
    let budget = Budget::new(100);
    let bytes = attach(Bytes::from("abcdef"), budget.try_take(6).unwrap());
    let slice = bytes.slice(1..2);
    drop(bytes);
    assert_eq!((&slice[..], budget.in_use()), (&b"b"[..], 6));
    drop(slice);
    assert_eq!(budget.in_use(), 0);
}

#[test]
fn a_part_leaves_the_rest_to_others() {
    let whole = Budget::new(100);
    let part = whole.part(60);
    let held = part.try_take(60).unwrap();
    assert!(part.try_take(1).is_none());
    let rest = whole.try_take(40).unwrap();
    drop(held);
    // The part is free, but not the whole.
    let _all = whole.try_take(60).unwrap();
    assert!(part.try_take(1).is_none());
    assert_eq!((part.in_use(), whole.in_use()), (0, 100));
    drop(rest);
    assert!(part.try_take(40).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_what_comes_back_and_at_most_all() {
    let whole = Budget::new(100);
    let part = whole.part(50);
    let held = whole.try_take(100).unwrap();
    let waiting = part.take(usize::MAX);
    tokio::pin!(waiting);
    let wait = Duration::from_secs(1);
    assert!(timeout(wait, &mut waiting).await.is_err());
    drop(held);
    assert_eq!(timeout(wait, waiting).await.unwrap().bytes(), 50);
}

#[tokio::test]
async fn many_at_once_leave_nothing_taken() {
    let budget = Budget::new(1000);
    let parts = [budget.part(400), budget.part(900), budget.clone()];
    let tasks = (0..300).map(|number: usize| {
        let part = parts[number % 3].clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let share = part.take(number % 400).await;
                tokio::task::yield_now().await;
                drop(share);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        timeout(Duration::from_secs(30), task)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(budget.in_use(), 0);
    assert_eq!(parts[0].in_use() + parts[1].in_use(), 0);
}

/// A tree of files as the kernel shows them.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let meminfo = (
        "proc/meminfo",
        "MemTotal:        8388608 kB\nMemFree: 1 kB\n",
    );
    for (path, text) in files.iter().chain([&meminfo]) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn budget_of(files: &[(&str, &str)]) -> usize {
    default_bytes(machine(files).path())
}

const V2: (&str, &str) = (
    "proc/self/mountinfo",
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
);
const V1: (&str, &str) = (
    "proc/self/mountinfo",
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
     34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
     35 31 0:32 / /sys/fs/cgroup/memory rw shared:3 - cgroup cgroup rw,memory\n\
     41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
);

#[test]
fn the_smallest_limit_of_nested_cgroups_counts() {
    let nested = |inner, outer| {
        budget_of(&[
            V2,
            ("proc/self/cgroup", "0::/system.slice/broker.service\n"),
            (
                "sys/fs/cgroup/system.slice/broker.service/memory.max",
                inner,
            ),
            ("sys/fs/cgroup/system.slice/memory.max", outer),
        ])
    };
    assert_eq!(nested("805306368\n", "max\n"), 128 * MIB);
    assert_eq!(nested("max\n", "805306368\n"), 128 * MIB);
    assert_eq!(nested("1610612736\n", "805306368\n"), 128 * MIB);
    // Below what makes sense, and above what the machine has.
    assert_eq!(nested("65536\n", "max\n"), MIB);
    assert_eq!(nested("1099511627776\n", "max\n"), 256 * MIB);
}

#[test]
fn a_throttle_counts_as_a_limit() {
    let bytes = budget_of(&[
        V2,
        ("proc/self/cgroup", "0::/a\n"),
        ("sys/fs/cgroup/a/memory.max", "max\n"),
        ("sys/fs/cgroup/a/memory.high", "402653184\n"),
    ]);
    assert_eq!(bytes, 64 * MIB);
}

#[test]
fn version_1_says_no_limit_by_a_number() {
    let limited = |limit| {
        budget_of(&[
            V1,
            (
                "proc/self/cgroup",
                "9:name=systemd:/\n5:cpu,memory:/job\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", limit),
            (
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ])
    };
    assert_eq!(limited("805306368\n"), 128 * MIB);
    assert_eq!(limited("9223372036854771712\n"), 256 * MIB);
}

#[test]
fn in_a_container_the_mount_point_is_the_cgroup_itself() {
    // Version 1 without a namespace shows the path on the host, on both sides or on one alone.
    for (mounted, path) in [
        ("/docker/0123", "/docker/0123"),
        ("/docker/0123", "/docker/0123/nested"),
        ("/docker/0123", "/elsewhere"),
        ("/", "/docker/0123"),
        ("/", "/../../outside"),
        ("/", "/"),
    ] {
        let mounts =
            format!("35 31 0:32 {mounted} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
        let cgroups = format!("4:memory:{path}\n");
        let bytes = budget_of(&[
            ("proc/self/mountinfo", &mounts),
            ("proc/self/cgroup", &cgroups),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "805306368\n"),
        ]);
        assert_eq!(bytes, 128 * MIB, "{mounted} {path}");
    }
}

#[test]
fn without_a_limit_it_is_a_fixed_size_or_a_part_of_a_small_machine() {
    assert_eq!(budget_of(&[]), 256 * MIB);
    assert_eq!(budget_of(&[V2, ("proc/self/cgroup", "0::/\n")]), 256 * MIB);
    let small = ("proc/meminfo", "MemTotal: 786432 kB\n");
    let root = machine(&[]);
    fs::write(root.path().join(small.0), small.1).unwrap();
    assert_eq!(default_bytes(root.path()), 128 * MIB);
    assert_eq!(default_bytes(Path::new("/nowhere")), 256 * MIB);
}
