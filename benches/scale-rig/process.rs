//! The controller as a process: its memory and its processor time, as the kernel counts them.

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::{
    image,
    load::{LEASE, NAME, NAMESPACE},
};

const TEMPLATE: &str = include_str!("../../charts/memlock-operator/templates/controller-deployment.yaml");

/// `USER_HZ`, in which `/proc` counts processor time on every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// Ends with this value.
pub struct Controller {
    child: Child,
    pid: u32,
}

impl Controller {
    /// Starts one that asks the gate and writes its log into the folder.
    pub fn start(binary: &Path, folder: &Path, interval: &str) -> Self {
        let log = File::options().append(true).create(true).open(folder.join("controller.log")).unwrap();
        let child = Command::new(binary)
            .args(["controller", "--admin-listen", "127.0.0.1:0", "--interval", interval])
            .args(["--webhook-configuration", NAME, "--webhook-service", NAME, "--certificate-secret", NAME])
            .args(["--lease", LEASE, "--namespace", NAMESPACE])
            .envs(image::environment())
            .envs(chart())
            .env("KUBECONFIG", folder.join("gate.kubeconfig"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("{} cannot be started: {e}", binary.display()));
        let pid = child.id().expect("it was just started");
        Self { child, pid }
    }

    /// Ends it as the kubelet does.
    pub async fn stop(mut self) {
        let told = Command::new("kill").arg(self.pid.to_string()).status().await.unwrap();
        assert!(told.success(), "the controller has ended by itself; its last words are in controller.log");
        self.child.wait().await.unwrap();
    }

    /// In kB.
    pub fn resident(&self) -> u32 {
        self.kilobytes("VmRSS:")
    }

    /// The most that it ever was, in kB.
    pub fn most(&self) -> u32 {
        self.kilobytes("VmHWM:")
    }

    /// Used since its start.
    pub fn processor(&self) -> Duration {
        // Behind the name, which may hold anything, utime and stime are the 12th and 13th (`proc_pid_stat(5)`).
        let stat = self.read("stat");
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse::<u32>().unwrap()).sum();
        TICK * ticks
    }

    fn kilobytes(&self, key: &str) -> u32 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a size");
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the controller is running")
    }
}

/// The environment that the chart gives to the controller beside, as far as it is written out there.
fn chart() -> Vec<(&'static str, &'static str)> {
    let lines = TEMPLATE.lines().map(str::trim);
    let pairs = lines.clone().zip(lines.skip(1)).filter_map(|(name, value)| {
        Some((name.strip_prefix("- name: ")?, value.strip_prefix("value: \"")?.strip_suffix('"')?))
    });
    let set: Vec<_> = pairs.collect();
    assert!(set.iter().any(|(name, _)| name.starts_with("MALLOC_")), "the chart says how memory is kept: {set:?}");
    set
}
