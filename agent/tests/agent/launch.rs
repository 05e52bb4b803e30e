//! `launch`: the program that was asked for, able to lock or locked, and nothing else about it changed.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

use rstest::rstest;

use crate::place::{Daemon, Log, container, ended, place, signal};

const NON_ROOT: [&str; 5] = ["-u", "1000", "-c", "ipc_lock", "-n"];

fn launch<'a>(command: &'a mut Command, required: &str, more: &[&str], program: &[&str]) -> &'a mut Command {
    command.args(["launch", "--container", "ublk", "--required", required, "--size", "134217728"]);
    command.args(more).arg("--").args(program)
}

fn path(program: &str) -> String {
    place().join(program).to_str().unwrap().to_owned()
}

#[rstest]
fn a_locked_program(
    #[values("glibc", "static", "static-pie", "musl", "go")] program: &str,
    #[values(&["-c", "ipc_lock"][..], &NON_ROOT)] options: &[&str],
    #[values("current,future", "current,future,onfault")] flags: &str,
) {
    let mut command = container(options, "memlock-lock");
    let daemon = Daemon::start(launch(&mut command, "true", &["--lock", flags], &[&path(program), "grow", "a b"]));
    daemon.assert_locked();
    assert!(daemon.said.starts_with(&format!("pid {} ", daemon.pid())), "{}", daemon.said);
    assert!(daemon.said.contains(&format!("[{}] [grow] [a b]", path(program))), "{}", daemon.said);
    assert_eq!(daemon.children(), "");
    if program != "go" {
        assert!(daemon.said.contains("blocked 0 ignored 0") && daemon.said.contains("{MARK=kept}"), "{}", daemon.said);
        assert!(daemon.status("VmLck") > 64 << 10, "what it mapped later is locked too");
    }
    assert_eq!(daemon.terminate(), Some(15));
}

#[rstest]
#[case::as_it_is(&[], "blocked 0 ignored 0 ", "errno 10 ")]
#[case::ignored(&["-i", "17"], "blocked 0 ignored 1 ", "errno 10 ")]
#[case::blocked(&["-b", "17"], "blocked 1 ignored 0 ", "errno 10 ")]
fn no_child_is_left(#[case] options: &[&str], #[case] signals: &str, #[case] children: &str) {
    for program in ["glibc", "musl", "static"] {
        let mut command = container(&[options, &["-c", "ipc_lock"]].concat(), "memlock-lock");
        let daemon = Daemon::start(launch(
            &mut command,
            "true",
            &["--lock", "current,future,onfault"],
            &[&path(program), "children"],
        ));
        assert!(daemon.said.contains(signals) && daemon.said.contains(children), "{}", daemon.said);
        assert!(daemon.said.contains("children -1"), "{}", daemon.said);
        assert_eq!(daemon.said.contains("waited 1"), !options.contains(&"-i"), "{}", daemon.said);
        assert_eq!(daemon.children(), "");
    }
}

#[test]
fn as_the_first_process_of_a_namespace_it_is_locked_and_alone() {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]);
    let lock = path("memlock-lock");
    let arguments = "launch --container ublk --required true --size 134217728 --lock current,future,onfault";
    command.arg(format!("exec {lock} {arguments} -- {} children", path("glibc")));
    let daemon = Daemon::start(&mut command);
    assert!(daemon.said.starts_with("pid 1 parent 0"), "{}", daemon.said);
    assert!(daemon.said.contains("children -1 errno 10 waited 1"), "{}", daemon.said);
}

#[test]
fn a_non_root_program_gets_the_capability_and_locks_itself() {
    for (options, answer) in [(&NON_ROOT[..], "mlockall 0"), (&["-u", "1000", "-c", "ipc_lock"], "mlockall 0")] {
        let mut command = container(options, "memlock-lock");
        let daemon = Daemon::start(launch(&mut command, "true", &[], &[&path("glibc"), "lock"]));
        assert!(daemon.said.contains(answer), "{}", daemon.said);
        daemon.assert_locked();
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000004000")), "{status}");
        }
    }
}

#[test]
fn exit_codes_are_the_programs_own() {
    let code = |more: &[&str], program: &[&str]| {
        let log = Log::new("codes");
        let mut command = container(&["-c", "ipc_lock"], "memlock-lock");
        let all = [more, &["--termination-log", log.path()]].concat();
        let output = launch(&mut command, "true", &all, program).output().unwrap();
        (output.status.code(), log.text())
    };
    for more in [&[][..], &["--lock", "current,future,onfault"]] {
        assert_eq!(code(more, &[&path("glibc"), "exit", "7"]), (Some(7), String::new()));
        assert_eq!(code(more, &["sh", "-c", "exit 9"]), (Some(9), String::new()), "found in PATH");
        let (missing, said) = code(more, &["no-such-program"]);
        assert_eq!(missing, Some(127));
        assert!(said.contains("cannot start its program no-such-program: ENOENT"), "{said}");
        assert_eq!(code(more, &["/etc/passwd"]).0, Some(126));
    }
}

#[test]
fn a_script_is_locked_as_its_interpreter() {
    let script = place().join("script");
    fs::write(&script, "#!/bin/sh\ngrep VmLck /proc/$$/status\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = container(&["-c", "ipc_lock"], "memlock-lock");
    let output =
        launch(&mut command, "true", &["--lock", "current,future,onfault"], &[&path("script")]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("VmLck:") && !said.contains(" 0 kB"), "{said}");
}

#[rstest]
#[case::not_granted(&["-c", "none"], &[], "does not have the capability IPC_LOCK")]
#[case::user(&["-u", "1000", "-c", "none"], &["--lock", "current,future"], "does not have the capability IPC_LOCK")]
#[case::no_ptrace(&["-c", "ipc_lock", "-p"], &["--lock", "current,future"], "could not be traced (EPERM)")]
#[case::filter(&["-c", "ipc_lock", "-f"], &["--lock", "current,future"], "a seccomp profile forbids it")]
#[case::io_flusher(&["-c", "ipc_lock"], &["--io-flusher"], "SYS_RESOURCE")]
fn what_is_required_and_cannot_work_ends_with_78(#[case] options: &[&str], #[case] more: &[&str], #[case] says: &str) {
    let log = Log::new(&format!("required-{}{}", options.concat(), more.concat()));
    let more = [more, &["--termination-log", log.path()]].concat();
    let output =
        launch(&mut container(options, "memlock"), "true", &more, &[&path("glibc"), "exit", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "the program has not run");
    assert!(log.text().contains(says) && log.text().starts_with("container ublk "), "{}", log.text());
    // Not required: it runs, and the log stays empty for its own words.
    fs::write(log.path(), "").unwrap();
    let output =
        launch(&mut container(options, "memlock"), "false", &more, &[&path("glibc"), "exit", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    assert_eq!(log.text(), "");
}

/// The size that was asked for fits into the limit and the address space of the program does not: only the new program
/// can find out.
#[test]
fn a_lock_that_fails_in_the_new_program_ends_it_before_it_runs() {
    let log = Log::new("late");
    let run = |required, program: &str| {
        let mut command = Command::new("prlimit");
        command.arg("--memlock=65536:65536").arg(place().join("container")).args(["-u", "1000", "-c", "none"]);
        command.arg(path("memlock")).args(["launch", "--container", "ublk", "--required", required, "--size", "4096"]);
        command.args(["--lock", "current,future", "--termination-log", log.path(), "--", &path(program), "exit", "5"]);
        command.output().unwrap()
    };
    for program in ["glibc", "static", "musl", "go"] {
        fs::write(log.path(), "").unwrap();
        let output = run("true", program);
        assert_eq!(output.status.code(), Some(78), "{program}: {output:?}");
        assert_eq!(output.stdout, b"", "it has not run");
        assert!(
            log.text().contains("mlockall gave ENOMEM: its address space is larger than its memlock limit"),
            "{}",
            log.text()
        );
        if program != "go" {
            let output = run("false", program);
            assert_eq!(output.status.code(), Some(5), "{program}: {output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains("it runs all the same"), "{output:?}");
        }
    }
}

#[test]
fn a_program_that_nobody_may_trace_is_refused() {
    let log = Log::new("unreadable");
    fs::copy(path("glibc"), path("unreadable")).unwrap();
    fs::set_permissions(path("unreadable"), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let more = ["--lock", "current,future", "--termination-log", log.path()];
    let output =
        launch(&mut container(&NON_ROOT, "memlock-lock"), "true", &more, &[&path("unreadable")]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(log.text().contains("uid 1000 may not read its program"), "{}", log.text());
}

#[test]
fn a_program_of_32_bits_is_refused() {
    let log = Log::new("narrow");
    let mut elf = fs::read(path("static")).unwrap();
    elf[4] = 1;
    fs::write(path("narrow"), elf).unwrap();
    fs::set_permissions(path("narrow"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let more = ["--lock", "current,future", "--termination-log", log.path()];
    let output = launch(&mut container(&["-c", "ipc_lock"], "memlock-lock"), "true", &more, &[&path("narrow")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(log.text().contains("is not a 64-bit program"), "{}", log.text());
}

#[test]
fn file_capabilities_of_the_program_are_told() {
    fs::copy(path("glibc"), path("capped")).unwrap();
    crate::place::finished(Command::new("setcap").arg("cap_ipc_lock=ep").arg(path("capped")));
    for (more, says) in [(&[][..], "does not keep the launcher's"), (&["--lock", "current,future"], "loses those")] {
        let mut command = container(&NON_ROOT, "memlock-lock");
        let output = launch(&mut command, "true", more, &[&path("capped"), "exit", "3"]).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
}

/// Every moment of a start, from the first instruction of the launcher to the running program.
#[test]
fn a_signal_at_any_moment_reaches_the_program() {
    for round in 0..400_u64 {
        let program = ["static", "glibc", "musl"][usize::try_from(round % 3).unwrap()];
        let mut command = container(&["-c", "ipc_lock"], "memlock-lock");
        let mut child = launch(&mut command, "true", &["--lock", "current,future,onfault"], &[&path(program), "wait"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Starting takes 2 to 4 ms; `kill` itself takes 1.
        std::thread::sleep(Duration::from_micros(round * 37 % 5000));
        signal(child.id(), "TERM");
        let status = ended(&mut child);
        assert_eq!(status.signal(), Some(15), "round {round}, {program}: {status:?}");
    }
}

/// A stop and a continue in between: the program is stopped, goes on and is locked.
#[test]
fn a_stopped_start_goes_on() {
    for round in 0..60_u64 {
        let mut command = container(&["-c", "ipc_lock"], "memlock-lock");
        let mut child =
            launch(&mut command, "true", &["--lock", "current,future,onfault"], &[&path("glibc"), "exit", "6"])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
        std::thread::sleep(Duration::from_micros(round * 61 % 3000));
        signal(child.id(), "STOP");
        std::thread::sleep(Duration::from_millis(1));
        signal(child.id(), "CONT");
        assert_eq!(ended(&mut child).code(), Some(6), "round {round}");
    }
}

/// A kernel without Yama has no such file; it is put where the agent looks, in a mount namespace of its own.
#[rstest]
#[case::off("0", "ipc_lock", None)]
#[case::descendants("1", "ipc_lock", None)]
#[case::only_with_the_capability(
    "2",
    "ipc_lock",
    Some("allows ptrace only with SYS_PTRACE (kernel.yama.ptrace_scope is 2)")
)]
#[case::with_the_capability("2", "ipc_lock,sys_ptrace", None)]
#[case::nobody("3", "ipc_lock,sys_ptrace", Some("forbids ptrace (kernel.yama.ptrace_scope is 3)"))]
fn what_yama_forbids_is_told(#[case] scope: &str, #[case] capabilities: &str, #[case] says: Option<&str>) {
    let log = Log::new(&format!("yama-{scope}-{capabilities}"));
    let run = |required: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc/sys/kernel && mkdir /proc/sys/kernel/yama && echo $0 > /proc/sys/kernel/yama/ptrace_scope && exec \"$@\"", scope]);
        command.arg(place().join("container")).args(["-c", capabilities]).arg(place().join("memlock-lock"));
        let more = ["--lock", "current,future,onfault", "--termination-log", log.path()];
        launch(&mut command, required, &more, &[&path("glibc"), "exit", "5"]).output().unwrap()
    };
    let output = run("true");
    assert_eq!(output.status.code(), Some(if says.is_some() { 78 } else { 5 }), "{output:?}");
    let Some(says) = says else {
        assert_eq!(log.text(), "");
        return;
    };
    assert!(log.text().contains(says) && log.text().contains("memlock.dev/lock-by: daemon"), "{}", log.text());
    let output = run("false");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
}
