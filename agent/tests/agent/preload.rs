//! `libmemlock.so`: locks one process of a container, under any C library.

use std::{fs, process::Command};

use rstest::rstest;

use crate::place::{Daemon, container, place};

fn preloaded(options: &[&str], program: &str, process: Option<&str>, required: &str) -> Command {
    let mut command = container(options, program);
    command
        .env("LD_PRELOAD", place().join("libmemlock.so"))
        .env("MEMLOCK_FLAGS", "current,future,onfault")
        .env("MEMLOCK_REQUIRED", required)
        .env("MEMLOCK_CONTAINER", "ublk");
    if let Some(process) = process {
        command.env("MEMLOCK_PROCESS", process);
    }
    command
}

#[rstest]
fn the_named_process_is_locked(#[values("glibc", "musl")] program: &str) {
    // `container` is a program of glibc itself and gets the library too: it has another name.
    let mut command = preloaded(&["-c", "ipc_lock"], program, Some(program), "true");
    let daemon = Daemon::start(command.arg("threads"));
    daemon.assert_locked();
    assert_eq!(daemon.terminate(), Some(15));
}

#[rstest]
fn no_other_process_is_locked(
    #[values("glibc", "musl")] program: &str,
    #[values(None, Some("other"))] process: Option<&str>,
) {
    let daemon = Daemon::start(preloaded(&["-c", "ipc_lock"], program, process, "true").arg("wait"));
    assert_eq!(daemon.status("VmLck"), 0);
}

#[rstest]
fn the_first_process_is_locked_beside_another_preload(#[values("glibc", "musl")] program: &str) {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    let folder = place().to_str().unwrap();
    // A second entry, which was there before, is loaded too.
    command.arg(format!(
        "export LD_PRELOAD={folder}/libmemlock.so:{folder}/second.so MEMLOCK_FLAGS=current,future MEMLOCK_REQUIRED=true MEMLOCK_CONTAINER=ublk; exec {} wait",
        place().join(program).to_str().unwrap()
    ));
    let daemon = Daemon::start(&mut command);
    assert!(daemon.said.starts_with("pid 1 "), "{}", daemon.said);
    let first = daemon.children().trim().to_owned();
    let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let size = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!(size("VmLck") > 0 && size("VmSize") - size("VmLck") <= 64, "{status}");
    assert!(fs::read_to_string(format!("/proc/{first}/maps")).unwrap().contains("second.so"));
}

#[rstest]
fn a_lock_that_cannot_work_ends_the_process_only_when_required(#[values("glibc", "musl")] program: &str) {
    // An address space above the limit: 64 kB are less than any program has.
    let run = |required| {
        let mut command = Command::new("prlimit");
        let inner = preloaded(&["-u", "1000", "-c", "none"], program, Some(program), required);
        command.arg("--memlock=65536:65536").arg(inner.get_program()).args(inner.get_args()).args(["exit", "5"]);
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output().unwrap()
    };
    let output = run("true");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("container ublk cannot lock its memory: it does not have the capability IPC_LOCK"), "{said}");
    let output = run("false");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("it runs all the same"), "{said}");
}
