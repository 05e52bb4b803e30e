//! What one look into a container showed. Sizes are in kB of 1,024 bytes, as the kernel prints them.

/// One container's facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The first process of the container.
    pub daemon: Process,
    /// Mappings that no process can lock: `vvar`, `vvar_vclock`, `vdso`, measured on the reader
    /// itself, which runs on the same kernel.
    pub unlockable_kb: u64,
    /// Processes of the container that were not read, the reader not counted.
    pub unread_processes: usize,
    /// Soft `RLIMIT_MEMLOCK` of the daemon, where it could be read.
    pub locked_limit: Option<LockedLimit>,
    /// The daemon lives in a user namespace, where capabilities do not lock memory.
    pub user_namespace: bool,
}

/// `Max locked memory` of `/proc/PID/limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedLimit {
    /// In bytes.
    Bytes(u64),
    /// No limit.
    Unlimited,
}

/// `/proc/PID/status` (`proc_pid_status(5)`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id as seen inside the container.
    pub pid: u32,
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
}
