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
/// Who calls `mlockall`: `daemon` (default) or `agent`.
pub const LOCK_BY: &str = "memlock.dev/lock-by";
/// Flags of the agent's `mlockall`: `current,future,onfault` (default) or `current,future`.
pub const LOCK_FLAGS: &str = "memlock.dev/lock-flags";
/// Where an effective `CAP_IPC_LOCK` comes from: `grant` (default) or `image`.
pub const CAPABILITY: &str = "memlock.dev/capability";
/// `false`: the capability only, nothing of ours is pulled or mounted.
pub const AGENT: &str = "memlock.dev/agent";
/// The swap device that the pod serves.
pub const DEVICE: &str = "memlock.dev/device";
/// The `RLIMIT_MEMLOCK` wished for.
pub const LIMIT: &str = "memlock.dev/limit";
/// `true`: the launcher sets `PR_SET_IO_FLUSHER`.
pub const IO_FLUSHER: &str = "memlock.dev/io-flusher";
/// `true`: the pod is not Ready until it was seen to be locked.
pub const READINESS_GATE: &str = "memlock.dev/readiness-gate";
/// What the webhook changed, as JSON. Ours; an author's value does not count.
pub const INJECTED: &str = "memlock.dev/injected";

/// Annotation the controller writes: the last verdict as compact JSON.
pub const STATUS: &str = "memlock.dev/status";
/// Label the controller writes: the last verdict as one word.
pub const STATE: &str = "memlock.dev/state";
/// Pod condition the controller writes.
pub const LOCKED_CONDITION: &str = "memlock.dev/Locked";
/// Pod condition of the readiness gate: True once locked, until a definite failure or a restart.
pub const LOCK_VERIFIED_CONDITION: &str = "memlock.dev/LockVerified";

/// The capability that makes `mlockall` work at any `RLIMIT_MEMLOCK`
/// (capabilities(7), `can_do_mlock()` in the kernel's `mm/mlock.c`).
pub const IPC_LOCK: &str = "IPC_LOCK";
/// What `PR_SET_IO_FLUSHER` takes (`kernel/sys.c`).
pub const SYS_RESOURCE: &str = "SYS_RESOURCE";
/// Bit of `CAP_IPC_LOCK` in `CapEff` (`include/uapi/linux/capability.h`).
pub const IPC_LOCK_BIT: u32 = 14;

/// A capability's name as Kubernetes writes it: in capitals and without `CAP_`, whatever the spelling.
#[must_use]
pub fn bare_capability(entry: &str) -> String {
    let upper = entry.to_ascii_uppercase();
    upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
}

/// kubectl's own choice of container, honoured before "the first".
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Marks the API server's reflection of a static pod; changing it changes nothing on the node.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Where the NRI plugin ulimit-adjuster looks for the limits of one container
/// (containerd/nri, `plugins/ulimit-adjuster/README.md`).
pub const NRI_ULIMITS: &str = "ulimits.noderesource.dev/container.";
/// Most characters of a key behind its slash (`IsQualifiedName` of the API server).
const LONGEST_KEY: usize = 63;
/// Marks a pod whose Pod Security level is named by its namespace.
pub const POD_SECURITY_ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Volume that holds the agent.
pub const AGENT_VOLUME: &str = "memlock";
/// Where it is mounted in the containers that serve the device.
pub const AGENT_MOUNT: &str = "/memlock";
/// Init container that copies the agent into the volume.
pub const INSTALL_CONTAINER: &str = "memlock-init";
/// Init container that tries the lock as the daemon would.
pub const PREFLIGHT_CONTAINER: &str = "memlock-preflight";
/// The agent's file.
pub const AGENT_FILE: &str = "/memlock/memlock";
/// The same with `cap_ipc_lock=ep`.
pub const LAUNCHER_FILE: &str = "/memlock/memlock-lock";
/// The same with `cap_ipc_lock,cap_sys_resource=ep`.
pub const FLUSHER_FILE: &str = "/memlock/memlock-flush";
/// What locks an unmodified dynamic program.
pub const PRELOAD_FILE: &str = "/memlock/libmemlock.so";

/// Field manager of the controller's status writes.
pub const STATUS_MANAGER: &str = "memlock-operator/status";
/// Field manager of the certificate writes.
pub const CERTIFICATE_MANAGER: &str = "memlock-operator/certificates";
/// Field manager of the lease.
pub const LEASE_MANAGER: &str = "memlock-operator/lease";
/// `reportingController` of our Events.
pub const EVENT_REPORTER: &str = "memlock.dev/controller";

/// The key of a container's limits; `None` where the container's name is too long for one.
#[must_use]
pub fn nri_ulimits(container: &str) -> Option<String> {
    let key = format!("{NRI_ULIMITS}{container}");
    let behind = key.split_once('/').map_or(0, |(_, behind)| behind.len());
    (behind <= LONGEST_KEY).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::annotations::ANNOTATIONS;

    #[test]
    fn a_container_may_have_a_longer_name_than_a_key() {
        assert_eq!(nri_ulimits("nbd").as_deref(), Some("ulimits.noderesource.dev/container.nbd"));
        assert!(nri_ulimits(&"n".repeat(53)).is_some());
        assert_eq!(nri_ulimits(&"n".repeat(54)), None);
    }

    #[test]
    fn keys_fit_the_rules_of_kubernetes() {
        let keys = ANNOTATIONS.iter().map(|word| word.key);
        for key in keys.chain([STATUS, STATE, LOCKED_CONDITION, LOCK_VERIFIED_CONDITION]) {
            let name = key.strip_prefix(PREFIX).expect("every key of ours has the prefix");
            assert!(!name.is_empty() && name.len() <= 63, "{key}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{key}");
        }
        for manager in [STATUS_MANAGER, CERTIFICATE_MANAGER, LEASE_MANAGER, EVENT_REPORTER] {
            assert!(manager.len() <= 128, "{manager}");
        }
    }
}
