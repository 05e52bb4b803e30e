//! The argument lists we may execute in somebody's container. Nothing else ever runs.

/// One exec, no shell: prints the files that `parse` reads, in this order.
///
/// World readable and free of the target's locks, so that a daemon stuck in a fault
/// cannot hold the reader (`fs/proc/array.c`); never `cmdline` or `environ`, which
/// read the target's own memory. A missing file is an error line of `cat` and no more:
/// of the two `cgroup.procs` only one exists (cgroup v2, v1). The last file must equal
/// `/proc/1/cgroup`, which also shows that nothing before it was cut off.
pub const CAT: [&str; 10] = [
    "cat",
    "/proc/1/status",
    "/proc/1/limits",
    "/proc/1/uid_map",
    "/proc/1/cgroup",
    "/proc/self/status",
    "/proc/self/maps",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/proc/self/cgroup",
];

/// Most bytes of output that are read; the files above fill about 8 kB.
pub const MAX_OUTPUT: usize = 256 * 1024;
