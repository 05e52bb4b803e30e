//! The memory limit, in a control group of the kernel: what it has no room for is refused with a sentence, and not killed.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

use rstest::rstest;

use crate::place::{Daemon, Log, place};

const LIMIT: u64 = 64 << 20;

/// A control group with this limit, which goes with the test; version 1 or 2, as this machine has it.
struct Limited(PathBuf);

impl Limited {
    fn new(name: &str) -> Self {
        let first = Path::new("/sys/fs/cgroup/memory");
        let (root, file) =
            if first.exists() { (first, "memory.limit_in_bytes") } else { (Path::new("/sys/fs/cgroup"), "memory.max") };
        let folder = root.join(format!("memlock-agent-test-{name}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), LIMIT.to_string()).unwrap();
        Self(folder)
    }

    /// A program of the place that starts in the group as a container with these options.
    fn container(&self, options: &[&str], program: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        command.arg(place().join("container")).args(options).arg(place().join(program));
        command
    }

    fn launch(&self, required: &str, flags: &str, log: &Log, program: &[&str]) -> Command {
        let mut command = self.container(&["-c", "ipc_lock"], "memlock-lock");
        command.args(["launch", "--container", "ublk", "--required", required, "--size", "67108864", "--lock", flags]);
        command.args(["--termination-log", log.path(), "--"]);
        command.arg(place().join(program[0])).args(&program[1..]);
        command
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The last process of the group may still be going.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[rstest]
fn a_program_that_would_be_killed_is_refused(#[values("large", "large-static")] program: &str) {
    let group = Limited::new(program);
    let log = Log::new(&format!("memory-{program}"));
    // What the kernel does, without us: 137 to a shell.
    let killed = group.container(&["-c", "ipc_lock"], program).arg("lock").status().unwrap();
    assert_eq!(killed.signal(), Some(9), "{killed:?}");

    let output = group.launch("true", "current,future", &log, &[program, "exit", "5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(output.stdout, b"", "it has not run");
    let said = log.text();
    assert!(
        said.starts_with("container ublk could not be locked by the agent: its memory limit of 65536 kB has room"),
        "{said}"
    );
    assert!(said.contains("raise resources.limits.memory, or lock with onfault"), "{said}");
    fs::write(log.path(), "").unwrap();
    let output = group.launch("false", "current,future", &log, &[program, "exit", "5"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("its memory limit of 65536 kB") && said.contains("it runs all the same"), "{said}");

    let daemon = Daemon::start(&mut group.launch("true", "current,future,onfault", &log, &[program]));
    daemon.assert_locked();
    assert!(daemon.status("VmLck") > 200 << 10 && daemon.status("VmRSS") < 64 << 10, "{}", daemon.said);
    assert_eq!(log.text(), "");
}

#[test]
fn a_program_that_fits_is_locked_at_once() {
    let group = Limited::new("fits");
    let log = Log::new("memory-fits");
    let daemon = Daemon::start(&mut group.launch("true", "current,future", &log, &["medium"]));
    daemon.assert_locked();
    assert!(daemon.status("VmRSS") > 48 << 10, "all of it is in memory");
    assert_eq!(log.text(), "");
}

#[test]
fn the_preload_says_the_same_where_the_container_wants_it() {
    let group = Limited::new("preload");
    let log = Log::new("memory-preload");
    let run = |flags: &str, required: &str| {
        fs::write(log.path(), "").unwrap();
        let mut command = group.container(&["-c", "ipc_lock"], "large");
        command.args(["exit", "5"]).env("LD_PRELOAD", place().join("libmemlock.so"));
        command.env("MEMLOCK_FLAGS", flags).env("MEMLOCK_REQUIRED", required).env("MEMLOCK_PROCESS", "large");
        command.env("MEMLOCK_CONTAINER", "ublk").env("MEMLOCK_TERMINATION_LOG", log.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run("current,future", "true");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("cannot lock its memory: its memory limit of 65536 kB has room"), "{said}");
    assert_eq!(format!("memlock: {}", log.text()), said, "the termination log says the same");
    let (code, said) = run("current,future", "false");
    assert_eq!((code, log.text()), (Some(5), String::new()), "{said}");
    assert!(said.contains("its memory limit of 65536 kB") && said.contains("it runs all the same"), "{said}");
    assert_eq!(run("current,future,onfault", "true"), (Some(5), String::new()));
}

#[test]
fn a_limit_below_the_wanted_size_is_said() {
    let group = Limited::new("preflight");
    let run = |size: &str| {
        let mut command = group.container(&["-c", "ipc_lock"], "memlock");
        command.args(["preflight", "--container", "ublk", "--required", "true", "--size", size]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said = run("134217728");
    let warning = "; its memory limit of 65536 kB is smaller than the 131072 kB that is wanted";
    assert!(said.contains("IPC_LOCK is effective") && said.contains(warning), "{said}");
    assert!(!run(&LIMIT.to_string()).contains("memory limit"));
}
