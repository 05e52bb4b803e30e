//! `preflight`: measures whether memory can be locked here, and says why not.

use core::fmt;

use crate::{
    arguments::Conditions,
    cgroup::Group,
    lines,
    populate::Shortage,
    sys::{self, Capabilities, Errno, Mapping},
    text::{Printable, Sentence},
};

/// What makes locking possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// `IPC_LOCK` is effective: the limit does not count.
    Capability,
    /// The limit is large enough, in bytes.
    Limit(u64),
}

/// Why locking is not possible, by what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The system call itself is refused before the kernel looks at rights and limits.
    Filter,
    /// The capability counts in the first user namespace only.
    UserNamespace,
    /// Effective, and still refused: `SELinux`, `AppArmor`.
    SecurityModule,
    /// The container does not have it.
    NotGranted,
    /// This file carries it, and the kernel did not honour that.
    NotHonoured,
    /// It was added, which gives nothing to a user other than root.
    NotRoot(u32),
    /// Root gave it away before.
    GivenAway,
    /// There is not so much address space.
    AddressSpace,
    /// The memory limit has no room for what would be locked at once.
    MemoryLimit(Shortage),
}

/// Locks one page with a soft limit of 0, which only the capability allows; else as much as is wanted under the real
/// limit, without touching it.
pub fn measure(size: Option<u64>) -> Result<Passed, Cause> {
    let (all_filtered, one_filtered) = sys::filtered();
    if all_filtered {
        return Err(Cause::Filter);
    }
    if capability_is_effective() {
        return Ok(Passed::Capability);
    }
    let (soft, _) = sys::limit().unwrap_or_default();
    let Some(bytes) = size else {
        return if soft == u64::MAX { Ok(Passed::Limit(soft)) } else { Err(cause(Errno::NOMEM)) };
    };
    if one_filtered {
        return Err(Cause::Filter);
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).max(sys::PAGE);
    let space = Mapping::reserve(bytes).map_err(|_| Cause::AddressSpace)?;
    space.lock_on_fault().map(|()| Passed::Limit(soft)).map_err(cause)
}

/// The lock of a page under a soft limit of 0. The limit is put back.
fn capability_is_effective() -> bool {
    let (Ok((soft, _)), Ok(page)) = (sys::limit(), Mapping::page()) else { return false };
    if sys::set_soft_limit(0).is_err() {
        return false;
    }
    let locked = page.lock();
    let _ = sys::set_soft_limit(soft);
    locked.is_ok()
}

/// Why a lock failed, by the facts of this process and not by the error alone.
#[must_use]
pub fn cause(error: Errno) -> Cause {
    let bit = |mask: u64| mask >> sys::IPC_LOCK & 1 == 1;
    let own = Capabilities::own().ok();
    let uid = sys::own_uid();
    let (soft, _) = sys::limit().unwrap_or_default();
    if error == Errno::PERM && soft >= sys::PAGE as u64 {
        // The kernel's own EPERM needs a limit of 0.
        Cause::Filter
    } else if in_user_namespace() {
        Cause::UserNamespace
    } else if own.is_some_and(|own| bit(own.effective)) {
        Cause::SecurityModule
    } else if !sys::in_bounding_set(sys::IPC_LOCK) {
        Cause::NotGranted
    } else if sys::xattr_size(c"/proc/self/exe", c"security.capability").is_ok() {
        Cause::NotHonoured
    } else if uid != 0 {
        Cause::NotRoot(uid)
    } else {
        Cause::GivenAway
    }
}

/// Any map but the whole range onto itself (`user_namespaces(7)`).
fn in_user_namespace() -> bool {
    let mut whole = false;
    let mut count = 0;
    let read = lines::for_each(c"/proc/self/uid_map", |line| {
        count += 1;
        whole = crate::text::words(line).eq([&b"0"[..], b"0", b"4294967295"]);
    });
    read.is_ok() && !(whole && count == 1)
}

/// What is said when it can be done.
#[must_use]
pub fn success(conditions: &Conditions<'_>, passed: Passed) -> Sentence {
    use fmt::Write;
    let container = Printable(conditions.container.to_bytes());
    let mut text = match passed {
        Passed::Capability => {
            Sentence::of(format_args!("container {container} can lock its memory: IPC_LOCK is effective"))
        }
        Passed::Limit(u64::MAX) => {
            Sentence::of(format_args!("container {container} can lock its memory: its memlock limit is unlimited"))
        }
        Passed::Limit(soft) => Sentence::of(format_args!(
            "container {container} can lock its memory: its memlock limit of {} kB covers the {} that is wanted",
            soft / 1024,
            Size(conditions.size)
        )),
    };
    let limit = Group::own().and_then(|group| group.limit()?.bytes());
    if let (Some(limit), Some(wanted)) = (limit, conditions.size)
        && limit < wanted
    {
        let _ = write!(
            text,
            "; its memory limit of {} kB is smaller than the {} that is wanted, and locked memory beyond it gets the \
             daemon killed: raise resources.limits.memory, or lock with onfault",
            limit / 1024,
            Size(Some(wanted))
        );
    }
    text
}

/// What is said when it cannot.
#[must_use]
pub fn failure(conditions: &Conditions<'_>, cause: Cause) -> Sentence {
    let container = Printable(conditions.container.to_bytes());
    let limit = LimitIs(conditions.size);
    let head = format_args!("container {container} cannot lock its memory: ");
    match cause {
        Cause::Filter => Sentence::of(format_args!(
            "{head}the system call is refused whatever the limit ({limit}), so a seccomp profile forbids it; allow \
             mlock, mlock2 and mlockall in the profile, or use RuntimeDefault, which allows them"
        )),
        Cause::UserNamespace => Sentence::of(format_args!(
            "{head}it runs in a user namespace (hostUsers: false), where IPC_LOCK is without effect, and {limit}; remove \
             hostUsers: false, or raise the limit on the node (memlock.dev/limit)"
        )),
        Cause::SecurityModule => Sentence::of(format_args!(
            "{head}IPC_LOCK is effective and the kernel still refuses, so a security module (SELinux, AppArmor) forbids \
             it; allow the capability ipc_lock in its policy"
        )),
        Cause::NotGranted => Sentence::of(format_args!(
            "{head}it does not have the capability IPC_LOCK, and {limit}; add IPC_LOCK to securityContext.capabilities.add"
        )),
        Cause::NotHonoured => {
            let second = if sys::no_new_privileges() {
                "it was started by another program although allowPrivilegeEscalation is false, or "
            } else {
                ""
            };
            Sentence::of(format_args!(
                "{head}the launcher's file capability was not honoured: {second}its volume is mounted nosuid; and {limit}; \
                 make the launcher the container's first program, and see that the node mounts emptyDir volumes without nosuid"
            ))
        }
        Cause::NotRoot(uid) => Sentence::of(format_args!(
            "{head}it runs as uid {uid}, for which an added IPC_LOCK is not effective, and {limit}; set the container's \
             command so that the launcher can be used, give its program in the image cap_ipc_lock=ep \
             (memlock.dev/capability: image), or run it as uid 0"
        )),
        Cause::GivenAway => Sentence::of(format_args!(
            "{head}IPC_LOCK was given away before this program started, and {limit}; start it without a wrapper that drops \
             capabilities"
        )),
        Cause::AddressSpace => Sentence::of(format_args!(
            "{head}{} of address space cannot be had, and IPC_LOCK is not effective; lower memlock.dev/limit or the \
             container's memory limit, or raise its address space limit (RLIMIT_AS)",
            Size(conditions.size)
        )),
        Cause::MemoryLimit(shortage) => Sentence::of(format_args!("{head}{shortage}")),
    }
}

/// The limit, and what of it is wanted.
struct LimitIs(Option<u64>);

impl fmt::Display for LimitIs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match sys::limit() {
            Err(_) => f.write_str("its memlock limit is not known"),
            Ok((u64::MAX, _)) => f.write_str("its memlock limit is unlimited"),
            Ok((soft, _)) => write!(f, "its memlock limit is {} kB where {} is wanted", soft / 1024, Size(self.0)),
        }
    }
}

/// A size for people.
struct Size(Option<u64>);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{} kB", bytes.div_ceil(1024)),
            None => f.write_str("no limit"),
        }
    }
}
