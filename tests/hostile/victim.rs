//! The process under attack, and the client that it must not forget.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    panic,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::runtime;

use super::{
    connection::{Way, post, review},
    image,
};

/// Half of the memory that the chart gives to a webhook pod.
const MOST_MEMORY: u64 = 64 * 1024;
/// Longest time that an ordinary review may take meanwhile, a new connection and its handshake included; the API server
/// waits for 5 s. Far more than was seen (docs/performance.md), so that other work on the machine is no fault.
const PATIENCE: Duration = Duration::from_secs(2);
/// An attacker has machines of its own; here it leaves the processors to the webhook and to its client where it can.
const POLITENESS: i32 = 5;

/// One attack at a time: what is measured is the answer to it.
static ALONE: Mutex<()> = Mutex::new(());

struct Victim {
    process: Child,
    folder: PathBuf,
    way: Way,
    stop: Arc<AtomicBool>,
    good: Option<JoinHandle<Vec<Duration>>>,
}

/// Attacks a webhook that was started for it, and holds what it may do; the attack says in words what it did.
pub(crate) fn attack<F: Future<Output = String>>(name: &str, attack: impl FnOnce(Way) -> F + Send + 'static) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let victim = Victim::start(name);
    let way = victim.way.clone();
    let attackers = thread::spawn(move || {
        // Threads begin as polite as the one that started them.
        rustix::process::nice(POLITENESS).unwrap();
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(attack(way))
    });
    let done = attackers.join().unwrap_or_else(|fault| panic::resume_unwind(fault));
    victim.survived(&done);
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Victim {
    fn start(name: &str) -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = std::env::temp_dir().join(format!("memlock-hostile-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        fs::write(&certificate, pair.cert.pem()).unwrap();
        fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
        let (address, admin) = (free(), free());
        let process = Command::new(env!("CARGO_BIN_EXE_memlock-operator"))
            .envs(image::environment())
            .args(["webhook", "--agent-image", "memlock-operator:1"])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .args(["--tls-cert-file".as_ref(), certificate.as_os_str(), "--tls-key-file".as_ref(), key.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        let way = Way::new(address, process.id(), pair.cert.der().clone());
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "the webhook does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        let stop = Arc::new(AtomicBool::new(false));
        // On a thread of its own: what it waits for is the webhook, and not the attackers beside it.
        let good = thread::spawn({
            let (way, stop) = (way.of_server(), stop.clone());
            move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(ask_on(way, stop))
            }
        });
        Self { process, folder, way, stop, good: Some(good) }
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the webhook runs");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The attack is over: what it did.
    fn survived(mut self, attack: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let good = self.good.take().expect("asked for once");
        let mut answers = good.join().expect("ordinary reviews were answered");
        answers.sort_unstable();
        let (longest, peak) = (answers[answers.len() - 1], self.status("VmHWM:"));
        // Pages of the program itself can be read again, and are many where it was not optimised.
        let own = peak - self.status("RssFile:");
        eprintln!(
            "{attack}: peak {} MiB, {} MiB without the program; {} ordinary reviews, the longest {longest:?}",
            peak / 1024,
            own / 1024,
            answers.len()
        );
        assert!(answers.len() >= 10, "too few ordinary reviews to tell: {}", answers.len());
        assert!(longest < PATIENCE, "{longest:?}");
        assert!(own < MOST_MEMORY, "{own} KiB");
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
