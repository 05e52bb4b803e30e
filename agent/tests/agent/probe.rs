//! `probe`: the form of its output. What the operator makes of it is tested with the operator.

use std::process::{Command, Stdio};

use crate::place::{Daemon, container, finished, place};

#[test]
fn the_output_has_a_version_an_order_and_an_end() {
    let daemon = Daemon::start(container(&["-c", "ipc_lock"], "glibc").arg("lock"));
    let output = String::from_utf8(finished(Command::new(place().join("memlock")).arg("probe")).stdout).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((lines.first(), lines.last()), (Some(&"memlock-probe 1"), Some(&"end")));
    let order = ["memlock-probe", "reader", "memory", "swap", "process", "smaps", "unread", "end"];
    let ranks: Vec<usize> = lines
        .iter()
        .map(|line| order.iter().position(|name| line.split(' ').next() == Some(name)).expect(line))
        .map(|rank| if rank == 5 { 4 } else { rank })
        .collect();
    assert!(ranks.is_sorted(), "{output}");
    let own = lines.iter().find(|line| line.starts_with(&format!("process {} ", daemon.pid()))).unwrap();
    let fields: Vec<&str> = own.split(' ').collect();
    assert_eq!(fields[2..4], ["0", "0000000000004000"]);
    assert_eq!(fields[8..], ["8388608", "initial", "1", "0", "glibc"], "{own}");
}

#[test]
fn it_never_waits_for_a_daemon_that_is_stopped() {
    let daemon = Daemon::start(container(&["-c", "ipc_lock"], "glibc").arg("partial"));
    crate::place::signal(daemon.pid(), "STOP");
    let output = finished(Command::new(place().join("memlock")).arg("probe"));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains(&format!("\nsmaps {} ", daemon.pid())), "{shown}");
    crate::place::signal(daemon.pid(), "CONT");
}

#[test]
fn an_output_that_nobody_reads_is_an_error() {
    let mut child = Command::new("sh")
        .args(["-c", "\"$0\" probe > /dev/full"])
        .arg(place().join("memlock"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(crate::place::ended(&mut child).code(), Some(1));
}
