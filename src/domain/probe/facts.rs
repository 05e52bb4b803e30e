//! What one look into a container showed.

/// One container's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The processes of the container that were read, the reader not among them. Never empty.
    pub processes: Vec<Process>,
    /// How many more the container has.
    pub unread_processes: usize,
    /// Mappings that no process can lock, in kB: `vvar`, `vvar_vclock`, `vdso`, measured on the
    /// reader itself, which runs on the same kernel.
    pub unlockable_kb: u64,
    /// The container's memory control group, where it could be read.
    pub memory: Option<Memory>,
    /// Where the node swaps to, as the container sees it; `None` where that could not be read.
    pub swaps: Option<Vec<SwapArea>>,
}

impl Facts {
    /// What of the container is in swap, in bytes; `None`: it could not be read, and the node has swap in use or that
    /// could not be read either.
    #[must_use]
    pub fn swapped(&self) -> Option<u64> {
        let unused = |areas: &Vec<SwapArea>| areas.iter().all(|area| area.used_kb == 0);
        let by_group = self.memory.and_then(|memory| memory.swapped);
        by_group.or_else(|| self.swaps.as_ref().filter(|areas| unused(areas)).map(|_| 0))
    }
}

/// One process, from `/proc/PID/{status,limits,uid_map}`. Sizes in kB of 1,024 bytes, as the
/// kernel prints them (`task_mem()` in `fs/proc/task_mmu.c`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id as seen inside the container.
    pub pid: u64,
    /// `comm`, at most 15 bytes, chosen by the process.
    pub name: String,
    /// Effective uid.
    pub uid: u32,
    /// Address space.
    pub size_kb: u64,
    /// Of it, in mappings that carry `VM_LOCKED`.
    pub locked_kb: u64,
    /// Pages in swap.
    pub swapped_kb: u64,
    /// Hugetlb pages, which never go to swap and are never counted as locked.
    pub hugetlb_kb: u64,
    /// `CapEff`.
    pub effective_capabilities: u64,
    /// Soft `RLIMIT_MEMLOCK`, where it could be read.
    pub locked_limit: Option<LockedLimit>,
    /// It lives in a user namespace, where capabilities do not lock memory.
    pub user_namespace: bool,
    /// Its threads, where the agent counted them.
    pub threads: Option<Threads>,
    /// What the flags of its mappings say, where the agent could read them and the sizes above leave a doubt.
    pub mappings: Option<Mappings>,
}

/// Threads of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// All of them.
    pub count: u64,
    /// Those marked by `PR_SET_IO_FLUSHER`.
    pub io_flushers: u64,
}

/// The mappings of one process by `VmFlags` of `/proc/PID/smaps`, in kB. They add up to `size_kb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mappings {
    /// Not locked, and such that the kernel neither locks nor swaps them (`pf io de mm ht dp`).
    pub explained_kb: u64,
    /// Not locked, and lockable.
    pub unexplained_kb: u64,
    /// In swap, shared memory among it, which `VmSwap` leaves out.
    pub swapped_kb: u64,
}

/// One line of `/proc/swaps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapArea {
    /// Path, by the root of the container: only the last part is sure.
    pub name: String,
    /// A block device, not a file.
    pub partition: bool,
    /// In kB.
    pub size_kb: u64,
    /// Of it in use, in kB.
    pub used_kb: u64,
}

/// `Max locked memory` of `/proc/PID/limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedLimit {
    /// In bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

/// The container's memory control group, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// `memory.max`, or `memory.limit_in_bytes`; `None`: no limit.
    pub limit: Option<u64>,
    /// What is charged now.
    pub current: u64,
    /// Of it, file pages that the kernel gives back under pressure.
    pub reclaimable: u64,
    /// `memory.swap.max`, where the agent read it (cgroup v2).
    pub swap: Option<SwapLimit>,
    /// What of the group is in swap now, shared memory among it; `None` where the kernel does not tell.
    pub swapped: Option<u64>,
}

/// How much of the container's memory may go to swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwapLimit {
    /// In bytes; 0 keeps its anonymous memory out of swap.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

impl Memory {
    /// What may still be charged; `None`: no limit.
    #[must_use]
    pub fn headroom(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(self.current.saturating_sub(self.reclaimable)))
    }
}
