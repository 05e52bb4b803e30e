//! `preflight`: every cause has its own sentence.

use std::process::Command;

use rstest::rstest;

use crate::place::{Log, container, place};

const SIZE: &str = "134217728";

fn preflight(command: &mut Command, required: &str, size: &str, log: &Log) -> (Option<i32>, String) {
    let arguments = ["preflight", "--container", "ublk", "--required", required, "--size", size];
    let output = command.args(arguments).args(["--termination-log", log.path()]).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[rstest]
#[case::root(&["-c", "ipc_lock"], SIZE, "IPC_LOCK is effective")]
#[case::root_without_limits(&["-c", "ipc_lock"], "unlimited", "IPC_LOCK is effective")]
#[case::small_under_the_limit(&["-u", "1000", "-c", "none"], "65536", "its memlock limit of 8192 kB covers the 64 kB")]
fn it_passes(#[case] options: &[&str], #[case] size: &str, #[case] says: &str) {
    let log = Log::new("passes");
    let (code, said) = preflight(&mut container(options, "memlock"), "true", size, &log);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    assert_eq!(log.text(), "");
}

#[rstest]
#[case::not_granted(&["-c", "none"], "memlock", SIZE, "does not have the capability IPC_LOCK, and its memlock limit is 8192 kB where 131072 kB is wanted")]
#[case::not_granted_non_root(&["-c", "none", "-u", "1000"], "memlock", SIZE, "does not have the capability IPC_LOCK")]
#[case::not_root(&["-c", "ipc_lock", "-u", "1000"], "memlock", SIZE, "runs as uid 1000, for which an added IPC_LOCK is not effective")]
#[case::not_root_unlimited(&["-c", "ipc_lock", "-u", "1000"], "memlock", "unlimited", "8192 kB where no limit is wanted")]
#[case::filter(&["-c", "ipc_lock", "-f"], "memlock", SIZE, "a seccomp profile forbids it")]
#[case::filter_non_root(&["-c", "none", "-u", "1000", "-f"], "memlock", "4096", "a seccomp profile forbids it")]
#[case::security_module(&["-c", "ipc_lock", "-s"], "memlock", SIZE, "IPC_LOCK is effective and the kernel still refuses, so a security module (SELinux, AppArmor) forbids it")]
#[case::given_away(&["-c", "none", "-k", "-n"], "memlock", SIZE, "IPC_LOCK was given away before this program started")]
#[case::address_space(&["-c", "none"], "memlock", "18446744073709551615", "of address space cannot be had")]
fn it_fails_with_the_cause(#[case] options: &[&str], #[case] program: &str, #[case] size: &str, #[case] says: &str) {
    for (required, exit) in [("true", 78), ("false", 0)] {
        let log = Log::new(&format!("fails-{}", options.concat()));
        let (code, said) = preflight(&mut container(options, program), required, size, &log);
        assert_eq!(code, Some(exit), "{said}");
        assert!(said.starts_with("memlock: container ublk cannot lock its memory: ") && said.contains(says), "{said}");
        assert_eq!(format!("memlock: {}", log.text()), said, "the termination log says the same");
        assert!(said.contains(';'), "it says what to do: {said}");
    }
}

#[test]
fn a_user_namespace_is_told() {
    let log = Log::new("user-namespace");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(place().join("memlock"));
    let (code, said) = preflight(&mut command, "true", SIZE, &log);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("it runs in a user namespace (hostUsers: false)"), "{said}");
    // There a sufficient limit is all that is needed.
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(place().join("memlock"));
    assert_eq!(preflight(&mut command, "true", "1048576", &log).0, Some(0));
}

#[test]
fn a_limit_of_zero_is_told_from_a_filter() {
    let log = Log::new("zero");
    let mut command = Command::new("prlimit");
    command.arg("--memlock=0:0").arg(place().join("container")).args(["-c", "none"]).arg(place().join("memlock"));
    let (code, said) = preflight(&mut command, "true", "4096", &log);
    assert_eq!(code, Some(78));
    assert!(said.contains("does not have the capability IPC_LOCK, and its memlock limit is 0 kB"), "{said}");
}

#[test]
fn a_launcher_behind_a_shell_is_told_that_it_must_be_first() {
    let log = Log::new("second");
    let mut command = Command::new(place().join("container"));
    command.args(["-u", "1000", "-c", "ipc_lock", "-n", "sh", "-c", "\"$@\"", "sh"]).arg(place().join("memlock-lock"));
    let (code, said) = preflight(&mut command, "true", SIZE, &log);
    assert_eq!(code, Some(78));
    assert!(said.contains("allowPrivilegeEscalation is false") && said.contains("first program"), "{said}");
}

#[test]
fn a_launcher_on_a_volume_without_privileges_is_told() {
    let log = Log::new("nosuid");
    let folder = place().join("nosuid");
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs -o nosuid,mode=755 none $1 && $2 install --launcher lock $1 && shift 2 && exec \"$@\"",
        "sh",
    ]);
    command.arg(&folder).arg(place().join("memlock"));
    command.arg(place().join("container")).args(["-u", "1000", "-c", "ipc_lock"]).arg(folder.join("memlock-lock"));
    let (code, said) = preflight(&mut command, "true", SIZE, &log);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("file capability was not honoured: its volume is mounted nosuid"), "{said}");
}
