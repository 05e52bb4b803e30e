//! Every word the product speaks to Kubernetes: keys, reasons, managers.

/// Prefix of each annotation, label and condition type of ours.
pub const PREFIX: &str = "memlock.dev/";

/// Opt in: `true` or `false`.
pub const SWAP_DEVICE: &str = "memlock.dev/swap-device";
/// Which containers serve the device, comma separated.
pub const CONTAINERS: &str = "memlock.dev/containers";
/// `true` (default): what cannot work is denied. `false`: it is a warning.
pub const REQUIRED: &str = "memlock.dev/required";
/// `true`: change nothing, only check and report.
pub const VERIFY_ONLY: &str = "memlock.dev/verify-only";
/// Name (`comm`) of the process that must be locked; default: every process of the container.
pub const PROCESS: &str = "memlock.dev/process";
/// What the webhook changed, as JSON. Ours; an author's value does not count.
pub const INJECTED: &str = "memlock.dev/injected";

/// Annotations an author may write and this version acts on.
pub const AUTHOR_KEYS: [&str; 5] = [SWAP_DEVICE, CONTAINERS, REQUIRED, VERIFY_ONLY, PROCESS];

/// Annotation the controller writes: the last verdict as compact JSON.
pub const STATUS: &str = "memlock.dev/status";
/// Label the controller writes: the last verdict as one word.
pub const STATE: &str = "memlock.dev/state";
/// Pod condition the controller writes.
pub const LOCKED_CONDITION: &str = "memlock.dev/Locked";

/// The capability that makes `mlockall` work at any `RLIMIT_MEMLOCK`
/// (capabilities(7), `can_do_mlock()` in the kernel's `mm/mlock.c`).
pub const IPC_LOCK: &str = "IPC_LOCK";
/// Bit of `CAP_IPC_LOCK` in `CapEff` (`include/uapi/linux/capability.h`).
pub const IPC_LOCK_BIT: u32 = 14;

/// kubectl's own choice of container, honoured before "the first".
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Marks the API server's reflection of a static pod; changing it changes nothing on the node.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Field manager of the controller's status writes.
pub const STATUS_MANAGER: &str = "memlock-operator/status";
/// Field manager of the certificate writes.
pub const CERTIFICATE_MANAGER: &str = "memlock-operator/certificates";
/// `reportingController` of our Events.
pub const EVENT_REPORTER: &str = "memlock.dev/controller";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fit_the_rules_of_kubernetes() {
        for key in AUTHOR_KEYS.iter().chain([&INJECTED, &STATUS, &STATE, &LOCKED_CONDITION]) {
            let name = key.strip_prefix(PREFIX).expect("every key of ours has the prefix");
            assert!(!name.is_empty() && name.len() <= 63, "{key}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{key}");
        }
        for manager in [STATUS_MANAGER, CERTIFICATE_MANAGER, EVENT_REPORTER] {
            assert!(manager.len() <= 128, "{manager}");
        }
    }
}
