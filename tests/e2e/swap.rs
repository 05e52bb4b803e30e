//! Memory that really went to swap: a swap file on the machine, and pressure in a container's control group.
//!
//! The file is swapped to for some seconds. It lies beside KUBECONFIG, so that each cluster has its own, and
//! `tests/e2e/run` takes it away where a test could not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use memlock_operator::domain::{probe::ALLOWED, verdict::State};
use serde_json::json;

use crate::{
    cluster::{Namespace, apply, condition, eventually, kubectl, label, opted_in, reported, run, running_id, succeed},
    host,
    states::{self, Truth, judged, says},
};

/// A swap file that is in use.
struct SwapFile(PathBuf);

impl SwapFile {
    fn on() -> Self {
        let config = PathBuf::from(std::env::var_os("KUBECONFIG").expect("KUBECONFIG names the cluster"));
        let file = Self(config.with_file_name("e2e.swap"));
        file.off();
        succeed("fallocate", &["--length", "256M", file.path()]);
        succeed("chmod", &["0600", file.path()]);
        succeed("mkswap", &[file.path()]);
        succeed("swapon", &[file.path()]);
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn off(&self) {
        run("swapoff", &[self.path()]);
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for SwapFile {
    fn drop(&mut self) {
        self.off();
    }
}

/// Makes the kernel take back what it can of a container's memory, and lets it go again.
///
/// Whoever lowers the limit below what is charged waits until enough was put into swap; where that is locked, the
/// kernel gives up (EBUSY) and kills nobody (`mem_cgroup_resize_max()` in `mm/memcontrol-v1.c`).
fn press(container_id: &str) {
    let group = host::memory_group(container_id);
    let limit = group.join("memory.limit_in_bytes");
    let charged: u64 = fs::read_to_string(group.join("memory.usage_in_bytes")).unwrap().trim().parse().unwrap();
    let lowered = fs::write(&limit, (charged / 2).to_string());
    fs::write(&limit, "-1").unwrap();
    if let Err(error) = lowered {
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
    }
}

fn on_swap(path: &Path) -> bool {
    fs::read_to_string("/proc/swaps").unwrap().lines().any(|line| line.starts_with(path.to_str().unwrap()))
}

#[test]
fn what_is_in_swap_is_never_called_locked() {
    let namespace = Namespace::new("swap-states");
    let swap = SwapFile::on();
    assert!(on_swap(&swap.0));
    // What is expected is the kernel's word; here stands which of them must have been swapped for the test to mean much.
    let states = [
        ("pressed_none", true),
        ("pressed_page", true),
        ("pressed_all", false),
        ("pressed_onfault", false),
        ("pressed_then_onfault", true),
        ("pressed_then_all", false),
        ("pressed_shared", true),
    ];
    for (state, _) in states {
        apply(&states::pod(&namespace.0, state, &json!({})));
    }
    for (state, _) in states {
        let id = running_id(&says(&namespace, &state.replace('_', "-"), "full")).unwrap();
        press(&id);
        run("kill", &["-USR1", &host::first_process(&id).to_string()]);
    }
    let mut wrong = Vec::new();
    eprintln!(
        "\n{:24} {:>10} {:10} {:10} {:10} {:10} {:10}",
        "state", "in swap kB", "truth", "cat", "sh", "agent", "capable"
    );
    for (state, in_swap) in states {
        let name = state.replace('_', "-");
        let truth = Truth::of(&running_id(&says(&namespace, &name, "ready")).unwrap());
        let judged = judged(&namespace, &name);
        let labels: String = judged.iter().fold(String::new(), |row, said| format!("{row}{:10} ", said.label()));
        eprintln!("{state:24} {:>10} {:10} {labels}", truth.swapped_kb, truth.state().label());
        assert_eq!(truth.swapped_kb > 1024, in_swap, "{state}: {truth:?}");
        for (argv, said) in ALLOWED.iter().zip(judged) {
            // What of a container's swap belongs to nobody's counter, only the flags of the mappings tell.
            let by_counters = argv.first().is_some_and(|program| !program.starts_with('/'));
            if said != truth.state() && !(by_counters && said == State::Unknown) {
                wrong.push(format!("{state}: {truth:?}, {} says {said:?}", argv.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_swap_out_is_reported_and_a_lock_prevents_it() {
    let namespace = Namespace::new("swap");
    let _swap = SwapFile::on();
    let daemons = [("keeps", "all", "locked"), ("loses", "none", "unlocked")];
    for (name, state, _) in daemons {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": namespace.0, "annotations": opted_in() },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "daemon", "image": "localhost/states:1", "imagePullPolicy": "IfNotPresent", "args": [state],
            }] },
        });
        apply(&pod);
    }
    for (name, _, before) in daemons {
        let pod = namespace.state(name, before);
        press(&running_id(&pod).unwrap());
    }
    let pod = namespace.state("loses", "swapped");
    let (said, found) = (reported(&pod, "daemon"), condition(&pod));
    let truth = Truth::of(&running_id(&pod).unwrap());
    assert_eq!((&found["status"], &found["reason"]), (&json!("False"), &json!("SwappedOut")));
    let swapped = said["swappedKiB"].as_u64().unwrap();
    assert!(swapped > 1024 && swapped.abs_diff(truth.swapped_kb) * 10 <= truth.swapped_kb, "{said}, {truth:?}");
    assert!(found["message"].as_str().unwrap().contains(&format!("has {swapped} kB in swap now")), "{found}");
    let keeps = namespace.get("keeps").unwrap();
    assert_eq!((label(&keeps), &reported(&keeps, "daemon")["swappedKiB"]), (Some("locked"), &json!(0)));
    assert_eq!(Truth::of(&running_id(&keeps).unwrap()).swapped_kb, 0);
    let rows = eventually("the rows", || {
        let rows = kubectl(&["-n", &namespace.0, "get", "swapdevices", "-o", "wide"]);
        let row = |pod: &str, state: &str| rows.lines().any(|line| line.contains(pod) && line.contains(state));
        if row("keeps", "Locked") && row("loses", "SwappedOut") { Ok(rows) } else { Err(rows) }
    });
    eprintln!("{rows}{}", found["message"].as_str().unwrap());
}
