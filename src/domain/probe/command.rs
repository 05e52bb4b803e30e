//! The argument lists we may execute in somebody's container. Nothing else ever runs.

/// One exec, no shell: prints the files of process 1 and of the container, in the order that
/// `parse` reads.
///
/// World readable and free of the target's locks, so that a daemon stuck in a fault
/// cannot hold the reader (`fs/proc/array.c`); never `cmdline` or `environ`, which
/// read the target's own memory. A missing file is an error line of `cat` and no more:
/// of the files in `/sys/fs/cgroup` only those of one cgroup version exist. The last file
/// must equal the daemon's `cgroup`, which also shows that nothing before it was cut off.
///
/// `cgroup.procs` leaves out the groups below. Version 2 counts them in `cgroup.stat`; in version 1 `pids.current`
/// counts every thread of the container, whatever group of memory it is in.
pub const CAT: [&str; 20] = [
    "cat",
    "/proc/1/status",
    "/proc/1/limits",
    "/proc/1/uid_map",
    "/proc/1/cgroup",
    "/sys/fs/cgroup/pids/pids.current",
    "/proc/self/status",
    "/proc/self/maps",
    "/proc/swaps",
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory.current",
    "/sys/fs/cgroup/memory.swap.current",
    "/sys/fs/cgroup/memory.stat",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    "/sys/fs/cgroup/memory/memory.stat",
    "/sys/fs/cgroup/cgroup.stat",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/cgroup.procs",
    "/proc/self/cgroup",
];

/// The same for every process that the container sees, where the image has a shell.
///
/// The shell becomes the last `cat`, so that the reader is one process. The list of processes
/// is made once, before: one that comes later is in `cgroup.procs` and was not read.
pub const SH: [&str; 3] = [
    "sh",
    "-c",
    "for p in /proc/[0-9]*; do cat $p/status $p/limits $p/uid_map $p/cgroup; done 2>/dev/null; \
     cd /sys/fs/cgroup && exec cat pids/pids.current /proc/self/status /proc/self/maps /proc/swaps \
     memory.max memory.current memory.swap.current memory.stat \
     memory/memory.limit_in_bytes memory/memory.usage_in_bytes memory/memory.stat \
     cgroup.stat cgroup.procs memory/cgroup.procs /proc/self/cgroup",
];

/// The agent, where the webhook has put it: one small static program that reads every process.
pub const AGENT: [&str; 2] = ["/memlock/memlock", "probe"];

/// The same with the launcher's file capability: it may read the mappings of a daemon that holds `IPC_LOCK` and is not
/// root (`ptrace_may_access()` asks for the target's capabilities).
pub const AGENT_WITH_CAPABILITY: [&str; 2] = ["/memlock/memlock-lock", "probe"];

/// Everything that may run; the chart's policy for the controller's account holds the same list.
pub const ALLOWED: [&[&str]; 4] = [&CAT, &SH, &AGENT, &AGENT_WITH_CAPABILITY];

/// Most bytes of output that are read: a process fills about 3 kB.
pub const MAX_OUTPUT: usize = 1024 * 1024;
