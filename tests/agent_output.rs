//! What the agent prints of real processes, read and judged as the controller does it. Needs root, gcc and a memory
//! control group; says so and fails without.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use memlock_operator::domain::{
    probe::{Facts, parse},
    verdict::{State, Wanted, judge},
};
use rstest::rstest;

/// The agent, built for release, and a daemon to look at.
fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let root = fs::metadata("/proc/self").unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&root), 0, "these tests need root: run them as root");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let place = std::env::temp_dir().join("memlock-agent-output");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        finished(Command::new(source.join("agent/build")).arg(&place));
        finished(Command::new(place.join("memlock")).args(["install", "--launcher", "lock"]).arg(&place));
        let programs = source.join("agent/tests/agent/programs");
        for (program, options) in [("daemon", ["-static", "-pthread"]), ("container", ["-O1", "-g0"])] {
            finished(
                Command::new("gcc")
                    .args(options)
                    .arg("-o")
                    .arg(place.join(program))
                    .arg(programs.join(program).with_extension("c")),
            );
        }
        place
    })
}

#[track_caller]
fn finished(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} is needed by these tests: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A container, as far as the probe can see: a memory control group of its own, with a daemon in it.
struct Container {
    group: PathBuf,
    daemon: Child,
}

impl Container {
    fn start(program: &str, arguments: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("memlock-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let of = |mark: &str| own.lines().find_map(|line| line.split_once(mark).map(|(_, path)| path.to_owned()));
        let group = match of(":memory:") {
            Some(path) => format!("/sys/fs/cgroup/memory{path}/{name}"),
            None => format!("/sys/fs/cgroup{}/{name}", of("0::").unwrap()),
        };
        Self::start_in(PathBuf::from(group), program, arguments)
    }

    /// A process of the same container in a group that it made below its own, or further below.
    fn start_below(&self, name: &str, arguments: &[&str]) -> Self {
        Self::start_in(self.group.join(name), "daemon", arguments)
    }

    fn start_in(group: PathBuf, program: &str, arguments: &[&str]) -> Self {
        fs::create_dir(&group).unwrap_or_else(|error| panic!("these tests need a memory control group: {error}"));
        let mut daemon = Self::inside(&group, program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.starts_with("pid "), "{said}");
        Self { group, daemon }
    }

    fn inside(group: &Path, program: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(group.join("cgroup.procs"))
            .arg(place().join(program));
        command
    }

    fn probe(&self, program: &str, arguments: &[&str]) -> Output {
        Self::inside(&self.group, program).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn facts(&self) -> Facts {
        let output = self.probe("memlock", &["probe"]);
        assert!(output.status.success(), "{output:?}");
        parse(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for pid in fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        let _ = self.daemon.wait();
        // The kernel lets a group go when its last process is gone, a moment later.
        for _ in 0..200 {
            if fs::remove_dir(&self.group).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

#[rstest]
#[case::locked("lock", State::Locked)]
#[case::rings_that_cannot_be_locked("rings", State::Locked)]
#[case::unlocked("wait", State::Unlocked)]
#[case::one_page("partial", State::Partial)]
#[case::a_child_that_is_not_locked("fork", State::Unlocked)]
#[case::a_zombie_does_not_count("zombie", State::Locked)]
#[case::others_outlive_the_first_thread("outlived", State::Unlocked)]
#[case::others_outlive_it_and_are_locked("outlived-lock", State::Locked)]
#[case::others_outlive_it_with_one_page("outlived-partial", State::Partial)]
fn a_real_process_is_judged(#[case] what: &str, #[case] state: State) {
    let container = Container::start("daemon", &[what]);
    let facts = container.facts();
    let verdict = judge(&facts, &Wanted::default());
    assert_eq!(verdict.state, state, "{}: {facts:?}", verdict.message);
    assert_eq!(facts.unread_processes, 0);
    assert_eq!(facts.processes.len(), if what == "fork" { 2 } else { 1 });
    let daemon = &facts.processes[0];
    assert_eq!((daemon.name.as_str(), daemon.uid, daemon.user_namespace), ("daemon", 0, false));
    assert_eq!(daemon.threads.map(|threads| threads.count), Some(1), "the dead do not count");
    assert_eq!(
        daemon.mappings.is_some(),
        matches!(what, "rings" | "partial" | "outlived-partial"),
        "read only where there is a doubt"
    );
    let memory = facts.memory.unwrap();
    assert!(memory.limit.is_none() && memory.current > 0, "{memory:?}");
}

/// Beside a locked process, each of them once made the container "locked".
#[rstest]
#[case::unlocked("wait", State::Unlocked)]
#[case::locked("lock", State::Locked)]
#[case::outlived("outlived", State::Unlocked)]
fn a_group_below_belongs_to_the_container(#[case] what: &str, #[case] state: State) {
    let container = Container::start("daemon", &["lock"]);
    let below = container.start_below("below", &["lock"]);
    let further = below.start_below("further", &[what]);
    let facts = container.facts();
    assert_eq!((facts.processes.len(), facts.unread_processes), (3, 0), "{facts:?}");
    assert_eq!(judge(&facts, &Wanted::default()).state, state, "{facts:?}");
    drop(further);
    assert_eq!(container.facts().processes.len(), 2, "what has ended is forgotten");
}

/// One that a mount with hidepid keeps out of `/proc` is in a list of the groups all the same.
#[test]
fn a_hidden_process_in_a_group_below_is_unread() {
    let container = Container::start("daemon", &["lock"]);
    let below = container.start_below("below", &["wait"]);
    let hide = "mount -t proc -o hidepid=2,gid=65534 proc /proc && exec \"$@\"";
    let probe = [place().join("container").to_str().unwrap(), "-u", "1000", "-c", "none"].map(str::to_owned);
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "echo $$ > \"$0\" && exec \"$@\""])
        .arg(container.group.join("cgroup.procs"))
        .args(["sh", "-c", hide, "hide"])
        .args(probe)
        .args([place().join("memlock").to_str().unwrap(), "probe"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.ends_with("unread 2\nend\n"), "{printed}");
    assert!(!printed.contains("\nprocess "), "{printed}");
    drop(below);
}

#[test]
fn every_thread_is_counted() {
    let container = Container::start("daemon", &["threads"]);
    let threads = container.facts().processes[0].threads.unwrap();
    assert_eq!((threads.count, threads.io_flushers), (4, 0));
}

/// The kernel shows the mappings of a process only to one that has all its capabilities.
#[test]
fn the_mappings_of_a_capable_user_need_the_capable_probe() {
    let program = place().join("daemon");
    let launcher = place().join("memlock-lock");
    let launch = ["launch", "--container", "x", "--required", "true", "--size", "1", "--"];
    let user = ["-u", "1000", "-c", "ipc_lock", "-n"];
    let arguments: Vec<&str> =
        [&user[..], &[launcher.to_str().unwrap()], &launch, &[program.to_str().unwrap(), "rings"]].concat();
    let container = Container::start("container", &arguments);
    for (probe, state) in [("memlock", State::Partial), ("memlock-lock", State::Locked)] {
        let probe = place().join(probe);
        let output = container.probe("container", &[&user[..], &[probe.to_str().unwrap(), "probe"]].concat());
        assert!(output.status.success(), "{output:?}");
        let facts = parse(&output.stdout).unwrap();
        assert_eq!(judge(&facts, &Wanted::default()).state, state, "{probe:?}: {facts:?}");
        assert_eq!(facts.processes[0].effective_capabilities, 1 << 14);
    }
}

#[test]
fn beside_an_older_probe_nothing_is_shown() {
    let container = Container::start("daemon", &["lock"]);
    // It stands for a probe that hangs by its name alone.
    fs::copy(place().join("daemon"), place().join("memlock-probe")).unwrap();
    let mut older = Container::inside(&container.group, "memlock-probe").stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(older.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let output = container.probe("memlock", &["probe"]);
    older.kill().unwrap();
    older.wait().unwrap();
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(parse(&output.stdout).is_err());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("an older probe, process {},", older.id())), "{said}");
    assert_eq!(
        judge(&container.facts(), &Wanted::default()).state,
        State::Locked,
        "and when it is gone, it works again"
    );
}
