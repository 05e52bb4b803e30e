//! The process under attack, and the client that it must not forget.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::connection::{Way, post, review};

/// Half of the memory that the chart gives to a webhook pod.
const MOST_MEMORY: u64 = 64 * 1024;
/// Longest time that an ordinary review may take meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) struct Victim {
    process: Child,
    folder: PathBuf,
    pub(crate) way: Way,
    stop: Arc<AtomicBool>,
    good: Option<JoinHandle<Vec<Duration>>>,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Victim {
    pub(crate) async fn start(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("memlock-hostile-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&certificate, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let (address, admin) = (free(), free());
        let process = Command::new(env!("CARGO_BIN_EXE_memlock-operator"))
            // As the image has it.
            .envs(["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"].map(|name| (name, "131072")))
            .env("MALLOC_ARENA_MAX", "2")
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=300")
            .args(["webhook", "--agent-image", "memlock-operator:1"])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(["--tls-cert-file".as_ref(), certificate.as_os_str(), "--tls-key-file".as_ref(), key.as_os_str()])
            .stderr(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        let way = Way::new(address, pair.cert.der().clone());
        let start = Instant::now();
        while way.plain(0).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the webhook does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        // On a thread of its own: what it waits for is the webhook, and not the attackers beside it.
        let good = thread::spawn({
            let (way, stop) = (way.clone(), stop.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(ask_on(way, stop))
            }
        });
        Self { process, folder, way, stop, good: Some(good) }
    }

    /// Peak of resident memory in KiB.
    fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the webhook runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The attack is over: what it did.
    pub(crate) async fn survived(mut self, attack: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let good = self.good.take().expect("asked for once");
        let joined = tokio::task::spawn_blocking(move || good.join()).await.unwrap();
        let mut answers = joined.expect("ordinary reviews were answered");
        answers.sort_unstable();
        let (longest, peak) = (answers[answers.len() - 1], self.peak());
        eprintln!("{attack}: peak {} MiB; {} ordinary reviews, the longest {longest:?}", peak / 1024, answers.len());
        assert!(answers.len() >= 10, "too few ordinary reviews to tell: {}", answers.len());
        assert!(longest < PATIENCE, "{longest:?}");
        assert!(peak < MOST_MEMORY, "{peak} KiB");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Over a connection that is kept, and over a new one, again and again.
async fn ask_on(way: Way, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let body = review();
    let mut kept = way.open(0).await.expect("a first connection");
    let mut took = Vec::new();
    // Garbage is over sooner than one can tell.
    while !stop.load(Ordering::Relaxed) || took.len() < 10 {
        let start = Instant::now();
        let answer = post(&mut kept, &body).await.expect("the kept connection stays");
        took.push(start.elapsed());
        assert!(answer.status == 200 && answer.review["response"]["allowed"] == true);

        let start = Instant::now();
        let mut new = way.open(0).await.expect("a new connection is taken");
        let answer = post(&mut new, &body).await.expect("a new connection is served");
        took.push(start.elapsed());
        assert!(answer.status == 200 && answer.review["response"]["patch"].is_string());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    took
}
