//! What the tests run: the agent built for release, programs to be locked, and processes that end with the test.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A folder that every user may read: the agent, made with `agent/build`, its launcher copies, and the programs.
pub(crate) fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let root = fs::metadata("/proc/self").unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&root), 0, "these tests need root: run them as root");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let place = std::env::temp_dir().join("memlock-agent-tests");
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        finished(Command::new(source.join("build")).arg(&place));
        for launcher in ["lock", "flush"] {
            finished(Command::new(place.join("memlock")).args(["install", "--launcher", launcher]).arg(&place));
        }
        let programs = source.join("tests/agent/programs");
        let compile = |compiler: &str, options: &[&str], from: &str, to: &str| {
            finished(Command::new(compiler).args(options).arg("-o").arg(place.join(to)).arg(programs.join(from)));
        };
        compile("gcc", &["-O1"], "container.c", "container");
        compile("gcc", &["-O1", "-pthread"], "daemon.c", "glibc");
        compile("gcc", &["-O1", "-pthread", "-static"], "daemon.c", "static");
        compile("gcc", &["-O1", "-pthread", "-static-pie"], "daemon.c", "static-pie");
        compile("musl-gcc", &["-O1", "-pthread"], "daemon.c", "musl");
        compile("gcc", &["-O1", "-pthread", "-DBALLAST=(48 << 20)"], "daemon.c", "medium");
        compile("gcc", &["-O1", "-pthread", "-DBALLAST=(200 << 20)"], "daemon.c", "large");
        compile("gcc", &["-O1", "-pthread", "-static", "-DBALLAST=(200 << 20)"], "daemon.c", "large-static");
        compile("gcc", &["-shared", "-nostdlib", "-fPIC"], "second.c", "second.so");
        let go = if Path::new("/usr/local/go/bin/go").exists() { "/usr/local/go/bin/go" } else { "go" };
        finished(
            Command::new(go)
                .env("CGO_ENABLED", "0")
                .args(["build", "-o"])
                .arg(place.join("go"))
                .arg(programs.join("daemon.go")),
        );
        place
    })
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn finished(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} is needed by these tests: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A program of the place, started as a container runtime would, with these options of `programs/container.c`.
pub(crate) fn container(options: &[&str], program: &str) -> Command {
    let mut command = Command::new(place().join("container"));
    command.args(options).arg(place().join(program)).current_dir("/").env("MARK", "kept").stdin(Stdio::null());
    command
}

/// A file that stands for the container's termination log.
pub(crate) struct Log(PathBuf);

impl Log {
    pub(crate) fn new(name: &str) -> Self {
        let path = place().join(format!("{name}.log"));
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

/// A daemon that has said who it is. Killed at the end of the test.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) said: String,
}

impl Daemon {
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let daemon = Self { child, said };
        assert!(!daemon.said.is_empty(), "{command:?} said nothing");
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A size of `/proc/PID/status`, in kB.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Everything but the kernel's own pages (vvar, vdso: tens of kB) is locked.
    #[track_caller]
    pub(crate) fn assert_locked(&self) {
        let (size, locked) = (self.status("VmSize"), self.status("VmLck"));
        assert!(locked > 0 && size - locked <= 64, "locked {locked} of {size} kB: {}", self.said);
        assert_eq!(self.status("TracerPid"), 0, "nobody traces it any more");
    }

    /// The children of the daemon, zombies among them.
    pub(crate) fn children(&self) -> String {
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap()
    }

    /// The signal that ended it, after `SIGTERM`.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        signal(self.pid(), "TERM");
        ended(&mut self.child).signal()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end, at most some seconds.
#[track_caller]
pub(crate) fn ended(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("process {} does not end", child.id());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status();
}
