//! `install`, and what is installed.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::place::{finished, place};

#[test]
fn the_agent_is_small_static_and_needs_nobody() {
    for file in ["memlock", "libmemlock.so"] {
        let path = place().join(file);
        assert!(fs::metadata(&path).unwrap().len() <= 1 << 20, "{file} is larger than 1 MB");
        let headers = finished(Command::new("readelf").args(["--program-headers", "--dynamic", "--wide"]).arg(&path));
        let headers = String::from_utf8(headers.stdout).unwrap();
        assert!(!headers.contains("INTERP") && !headers.contains("NEEDED"), "{file} needs somebody: {headers}");
        assert!(!headers.contains("RWE"), "{file} has memory that is writable and executable: {headers}");
    }
    let symbols = finished(Command::new("nm").arg("-D").arg(place().join("libmemlock.so")));
    assert_eq!(String::from_utf8_lossy(&symbols.stdout), "", "the preload neither needs nor replaces a symbol");
}

#[test]
fn install_copies_and_gives_the_launcher_its_capability() {
    let folder = place().join("installed");
    fs::create_dir_all(&folder).unwrap();
    // Twice, with the remains of a run that was killed: an init container may be restarted.
    fs::write(folder.join(".memlock.new"), "half").unwrap();
    for _ in 0..2 {
        finished(Command::new(place().join("memlock")).args(["install", "--launcher", "lock"]).arg(&folder));
    }
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["libmemlock.so", "memlock", "memlock-lock"]);
    for name in names {
        let file = folder.join(&name);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o755);
        let original = if name == "libmemlock.so" { "libmemlock.so" } else { "memlock" };
        assert_eq!(fs::read(&file).unwrap(), fs::read(place().join(original)).unwrap());
    }
    let both = place().join("installed-both");
    fs::create_dir_all(&both).unwrap();
    let launchers = ["install", "--launcher", "lock", "--launcher", "flush"];
    finished(Command::new(place().join("memlock")).args(launchers).arg(&both));
    let capabilities = |path| String::from_utf8(finished(Command::new("getcap").arg(path)).stdout).unwrap();
    assert!(capabilities(both.join("memlock-lock")).ends_with(" cap_ipc_lock=ep\n"));
    assert!(capabilities(both.join("memlock-flush")).ends_with(" cap_ipc_lock,cap_sys_resource=ep\n"));
    assert!(capabilities(folder.join("memlock-lock")).ends_with(" cap_ipc_lock=ep\n"));
    assert!(capabilities(place().join("memlock-flush")).ends_with(" cap_ipc_lock,cap_sys_resource=ep\n"));
    assert_eq!(capabilities(folder.join("memlock")), "");
}

#[test]
fn what_cannot_be_installed_is_one_sentence() {
    let output = Command::new(place().join("memlock")).args(["install", "/proc/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("install could not") && said.contains("ENOENT"), "{said}");
    let output = crate::place::container(&["-u", "1000"], "memlock")
        .args(["install", "--launcher", "lock", "/dev/shm"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for file in ["memlock", "libmemlock.so", ".memlock.new"] {
        let _ = fs::remove_file(format!("/dev/shm/{file}"));
    }
    assert!(said.contains("with the capability SETFCAP"), "{said}");
}

#[test]
fn wrong_usage_is_one_sentence_and_64() {
    let launch = ["launch", "--container", "x", "--required", "true", "--size", "1"];
    let with = |more: &[&'static str]| [&launch[..], more].concat();
    let wrong = [
        vec![],
        vec!["lock"],
        vec!["install"],
        vec!["install", "--launcher", "other", "/x"],
        vec!["preflight"],
        vec!["preflight", "--container", "x", "--required", "yes", "--size", "1"],
        vec!["preflight", "--container", "x", "--required", "true", "--size", "-1"],
        vec!["preflight", "--container", "x", "--required", "true", "--size", "1", "--", "true"],
        with(&[]),
        with(&["--"]),
        with(&["--lock", "onfault", "--", "true"]),
        with(&["--lock"]),
        vec!["probe", "1"],
    ];
    for arguments in wrong {
        let output = Command::new(place().join("memlock")).args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(64), 1), "{arguments:?}: {said}");
    }
    let version = finished(Command::new(place().join("memlock")).arg("--version"));
    assert_eq!(version.stdout, format!("memlock {}\n", env!("CARGO_PKG_VERSION")).as_bytes());
    assert!(!finished(Command::new(place().join("memlock")).arg("--help")).stdout.is_empty());
}
