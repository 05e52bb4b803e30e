//! What the pods of a namespace claim, moment by moment, held against the kernel.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use serde_json::{Deserializer, Value};

use super::{CONTAINER, INTERVAL};
use crate::{
    cluster::{Namespace, label, reported, run, running_id},
    host,
    states::Truth,
};

/// How long a label may say what is not so: until the next look, whose time is jittered, and one write.
const LONGEST_ERROR: Duration = INTERVAL.saturating_mul(13).checked_div(10).unwrap();
/// Between two comparisons of all labels with the kernel.
const PERIOD: Duration = Duration::from_secs(1);

/// When what was seen of one container.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pod: String,
    /// Since its first process was started, when the API first showed it running.
    pub age: Duration,
    pub running: Instant,
    /// When the first verdict on it stood on the pod, if it was not killed before.
    pub told: Option<Instant>,
}

#[derive(Default)]
struct Log {
    containers: HashMap<String, Seen>,
    pods: BTreeMap<String, Value>,
    /// Containers that were killed, by pod.
    killed: BTreeMap<String, BTreeSet<String>>,
    /// What must never be seen, and was.
    wrong: Vec<String>,
}

/// Which pods are of a special kind, by the beginnings of their names.
#[derive(Debug, Clone, Copy)]
pub struct Kinds {
    /// None of these ever locks anything.
    pub never_locked: &'static [&'static str],
    /// Each container of these is killed, in turns as soon as it runs and as soon as it has its verdict, ...
    pub killed: &'static [&'static str],
    /// ... so often.
    pub times: usize,
}

/// Follows the pods of a namespace as the API server shows them.
pub struct Observer {
    kubectl: Child,
    log: Arc<Mutex<Log>>,
    ended: Arc<AtomicBool>,
}

impl Observer {
    pub fn of(namespace: &Namespace, kinds: Kinds) -> Self {
        let mut kubectl = Command::new("kubectl")
            .args(["-n", &namespace.0, "get", "pods", "--watch", "--output=json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stream = Deserializer::from_reader(kubectl.stdout.take().unwrap()).into_iter::<Value>();
        let (log, ended) = (Arc::<Mutex<Log>>::default(), Arc::<AtomicBool>::default());
        // Read by a thread of its own: what is made of a pod takes time, and must not count.
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || stream.map_while(Result::ok).try_for_each(|pod| sender.send((Instant::now(), pod))));
        let (seen, told) = (Arc::clone(&log), Arc::clone(&log));
        let over = Arc::clone(&ended);
        std::thread::spawn(move || events.into_iter().for_each(|(at, pod)| see(&seen, kinds, at, pod)));
        std::thread::spawn(move || {
            let mut errors = HashMap::new();
            while !over.load(Ordering::Relaxed) {
                compare(&told, &mut errors);
                std::thread::sleep(PERIOD);
            }
        });
        Self { kubectl, log, ended }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        let log = self.log.lock().unwrap();
        assert!(log.wrong.is_empty(), "{:#?}", log.wrong);
        log
    }

    /// The pod as it was last seen. Panics if anything wrong was seen of any.
    pub fn pod(&self, name: &str) -> Option<Value> {
        self.log().pods.get(name).cloned()
    }

    /// All containers so far.
    pub fn containers(&self) -> HashMap<String, Seen> {
        self.log().containers.clone()
    }

    /// How many of the pod's containers were killed.
    pub fn kills(&self, name: &str) -> usize {
        self.log().killed.get(name).map_or(0, BTreeSet::len)
    }

    /// How long the first verdict on the pod's present container took, once it stands.
    pub fn wait(&self, name: &str) -> Option<Duration> {
        let log = self.log();
        let seen = log.containers.get(&running_id(log.pods.get(name)?)?)?;
        Some(seen.told? - seen.running)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn is_of(kinds: &[&str], name: &str) -> bool {
    kinds.iter().any(|kind| name.rsplit_once('-').is_some_and(|(start, _)| start == *kind))
}

fn see(log: &Mutex<Log>, kinds: Kinds, at: Instant, pod: Value) {
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let id = running_id(&pod);
    let fresh = id.as_ref().is_some_and(|id| !log.lock().unwrap().containers.contains_key(id));
    let age = id.as_ref().filter(|_| fresh).map(|id| host::processes(id).into_iter().filter_map(host::age).max());
    let mut log = log.lock().unwrap();
    if label(&pod) == Some("locked") && is_of(kinds.never_locked, &name) {
        log.wrong.push(format!("{name} was said to be locked: {}", pod["metadata"]));
    }
    if let Some(id) = id {
        let age = age.flatten().unwrap_or_default();
        let new = Seen { pod: name.clone(), age, running: at, told: None };
        // What was killed before is not waited for any more.
        let dead = log.killed.get(&name).is_some_and(|killed| killed.contains(&id));
        let seen = log.containers.entry(id.clone()).or_insert(new);
        if seen.told.is_none() && !dead && verdict_on(&pod, &id).is_some() {
            seen.told = Some(at);
        }
        let told = seen.told.is_some();
        let killed = log.killed.entry(name.clone()).or_default();
        // Every other one dies before its verdict.
        let now = is_of(kinds.killed, &name) && killed.len() < kinds.times && (told || killed.len().is_multiple_of(2));
        if now && killed.insert(id.clone()) {
            kill(&id);
        }
    }
    log.pods.insert(name, pod);
}

/// The label, where it is a verdict and speaks of this container.
fn verdict_on(pod: &Value, id: &str) -> Option<String> {
    let said = reported(pod, CONTAINER);
    let speaks_of_it = said["id"].as_str().is_some_and(|start| !start.is_empty() && id.starts_with(start));
    label(pod).filter(|label| speaks_of_it && *label != "pending").map(str::to_owned)
}

/// Kills the container's first process, if it still has one.
fn kill(id: &str) {
    for pid in host::processes(id) {
        run("kill", &["-KILL", &pid.to_string()]);
    }
}

/// Holds each label against the kernel; one that stays wrong for too long is an error.
fn compare(log: &Mutex<Log>, errors: &mut HashMap<String, Instant>) {
    let before = claims(&log.lock().unwrap());
    let ids: Vec<&str> = before.values().filter_map(|(id, _)| id.as_deref()).collect();
    let processes = host::processes_of(&ids);
    let truths: BTreeMap<&String, String> = before
        .iter()
        .map(|(name, (id, _))| {
            let pids = id.as_deref().and_then(|id| processes.get(id));
            (name, pids.map_or("not running".to_owned(), |pids| Truth::of_processes(pids).state().label().to_owned()))
        })
        .collect();
    let mut log = log.lock().unwrap();
    let now = claims(&log);
    for (name, claim) in &before {
        let (_, said) = claim;
        let truth = &truths[name];
        // What was said anew meanwhile is looked at the next time.
        let is_wrong = now.get(name) == Some(claim) && truth != said;
        if !is_wrong {
            errors.remove(name);
            continue;
        }
        let error = format!("{name} says {said:?} of {:?}, which is {truth}", claim.0);
        let since = errors.entry(name.clone()).or_insert_with(Instant::now);
        if since.elapsed() > LONGEST_ERROR {
            log.wrong.push(format!("for {:?}: {error}", since.elapsed()));
        }
    }
    errors.retain(|name, _| before.contains_key(name));
}

type Claims = BTreeMap<String, (Option<String>, String)>;

/// Pods that claim to know: the running container, and the label. "Unknown" and "pending" claim nothing.
fn claims(log: &Log) -> Claims {
    let claim = |(name, pod): (&String, &Value)| {
        let said = label(pod).filter(|label| !["unknown", "pending"].contains(label))?;
        Some((name.clone(), (running_id(pod), said.to_owned())))
    };
    log.pods.iter().filter_map(claim).collect()
}
