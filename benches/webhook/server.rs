//! The process that is measured.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustls_pki_types::CertificateDer;

use super::image;

pub(super) struct Server {
    process: Child,
    folder: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) certificate: CertificateDer<'static>,
}

/// This process and all threads it will have.
pub(super) fn pin_myself(core: &str) {
    let id = std::process::id().to_string();
    let done = Command::new("taskset").args(["-cp", core, &id]).stdout(Stdio::null()).status();
    assert!(done.expect("taskset is installed (util-linux)").success());
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Server {
    pub(super) async fn start(core: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("memlock-bench-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&certificate, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let (address, admin) = (free(), free());
        let binary =
            std::env::var("BENCH_SERVER").unwrap_or_else(|_| env!("CARGO_BIN_EXE_memlock-operator").to_owned());
        let log = fs::File::create(folder.join("log")).unwrap();
        // Flags and log as the chart has them, the environment as the image has it.
        let process = Command::new("taskset")
            .envs(image::environment())
            .args([
                "-c",
                core,
                &binary,
                "--log-format",
                "json",
                "webhook",
                "--agent-image",
                "registry.example/memlock-operator:1",
            ])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(["--tls-cert-file".as_ref(), certificate.as_os_str(), "--tls-key-file".as_ref(), key.as_os_str()])
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { process, folder, address, certificate: pair.cert.der().clone() };
        let start = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the webhook does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.id())).expect("the webhook runs")
    }

    /// Time that all of its threads have used, of themselves and of the kernel; in steps of 10 ms.
    pub(super) fn processor(&self) -> Duration {
        let stat = self.read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    /// Resident, in KiB.
    pub(super) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    pub(super) fn highest(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
