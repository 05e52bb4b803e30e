//! A check never hurts the daemon: it gets nobody killed for want of memory, and leaves nothing behind that hangs.
//!
//! `MEMLOCK_FULL=1`: a thousand checks of each kind; else some dozens.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::future::join_all;
use kube::Client;
use memlock_operator::{
    domain::{
        probe::{AGENT, MAX_OUTPUT, parse, unaffordable},
        verdict::{State, Wanted, judge},
    },
    platform::{
        client::connect,
        exec::{Command, ExecError, exec},
    },
};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{
    cluster::{Namespace, apply, condition, eventually, eventually_within, full, label, run, running_id},
    fleet::{
        self,
        observer::{Kinds, Observer},
    },
    host,
    states::{self, says},
};

/// The daemon's memory limit, above the smallest that is checked at all.
const LIMIT: u64 = 128 << 20;

fn runtime() -> (Runtime, Client) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client = runtime.block_on(connect()).unwrap();
    (runtime, client)
}

fn command<'a>(namespace: &'a Namespace, pod: &'a str, deadline: Duration) -> Command<'a> {
    Command { namespace: &namespace.0, pod, container: "state", argv: &AGENT, deadline, max_output: MAX_OUTPUT }
}

/// One check as the controller makes it: not at all below the rule; `None` then, else what is left of the limit.
async fn check(client: &Client, namespace: &Namespace, pod: &str, before: Option<u64>) -> Option<u64> {
    if unaffordable(Some(LIMIT), before).is_some() {
        return None;
    }
    let output = exec(client, command(namespace, pod, Duration::from_secs(10))).await.unwrap();
    let facts = parse(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(judge(&facts, &Wanted::default()).state, State::Locked);
    Some(facts.memory.unwrap().headroom().unwrap())
}

/// How often the kernel killed somebody of the group for want of memory.
fn kills(group: &Path) -> u64 {
    let text = fs::read_to_string(group.join("memory.oom_control")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
}

/// A daemon that fills its memory limit but for these MiB, one after another.
fn filling(namespace: &Namespace, name: &str, rooms: &[u64]) {
    let memory = json!({ "memory": LIMIT.to_string() });
    let mut pod = states::pod(&namespace.0, "filling", &json!({ "metadata": { "name": name } }));
    let arguments: Vec<String> =
        std::iter::once("filling".to_owned()).chain(rooms.iter().map(u64::to_string)).collect();
    pod["spec"]["containers"][0]["args"] = json!(arguments);
    pod["spec"]["containers"][0]["resources"] = json!({ "limits": memory, "requests": memory });
    apply(&pod);
}

/// Nobody was killed, in the container's group or in the pod's.
fn unharmed(namespace: &Namespace, name: &str, id: &str) {
    let group = host::memory_group(id);
    assert_eq!(kills(&group) + kills(group.parent().unwrap()), 0, "{name}");
    assert_eq!(running_id(&namespace.get(name).unwrap()).as_deref(), Some(id), "{name}: the same container");
}

#[test]
fn no_check_gets_a_daemon_killed() {
    let namespace = Namespace::new("headroom");
    let (runtime, client) = runtime();
    let checks = if full() { 1000 } else { 20 };
    let rooms = [64_u64, 32, 18, 8, 4, 2, 1];
    filling(&namespace, "filling", &rooms);
    let mut before = None;
    eprintln!("\n{:>8} {:>6} {:>8} {:>14} {:>10}", "left MiB", "looks", "unknown", "least kiB seen", "ms a look");
    for room in rooms {
        let id = running_id(&says(&namespace, "filling", &room.to_string())).unwrap();
        let (mut looks, mut unknown, mut least, since) = (0_u32, 0, u64::MAX, Instant::now());
        for _ in 0..checks {
            match runtime.block_on(check(&client, &namespace, "filling", before)) {
                Some(left) => {
                    looks += 1;
                    least = least.min(left);
                    before = Some(left);
                }
                None => unknown += 1,
            }
        }
        let each = since.elapsed().as_millis() / u128::from(looks.max(1));
        eprintln!("{room:>8} {looks:>6} {unknown:>8} {:>14} {each:>10}", if looks > 0 { least >> 10 } else { 0 });
        unharmed(&namespace, "filling", &id);
        if room > 16 {
            assert_eq!(looks, checks, "with {room} MiB left");
        } else {
            // The look that finds so little is the last one.
            assert!(looks <= 1, "{looks} looks with {room} MiB left");
        }
        run("kill", &["-USR1", &host::first_process(&id).to_string()]);
    }
}

/// The first look into a container knows only its limit, and the daemon may grow between two looks: a look needs far
/// less than the rule asks for.
#[test]
fn a_look_needs_a_quarter_of_what_the_rule_asks_for() {
    let namespace = Namespace::new("unaware");
    let (runtime, client) = runtime();
    let checks = if full() { 1000 } else { 10 };
    for room in [8, 4] {
        let name = format!("left-{room}");
        filling(&namespace, &name, &[room]);
        let id = running_id(&says(&namespace, &name, &room.to_string())).unwrap();
        for _ in 0..checks {
            let left = runtime.block_on(check(&client, &namespace, &name, None)).unwrap();
            assert!(left < (room + 1) << 20, "{left} B are left, not {room} MiB");
        }
        unharmed(&namespace, &name, &id);
        eprintln!("{checks} looks with {room} MiB left: nobody was killed");
    }
}

/// Everything that runs in the container or on its behalf.
fn processes(id: &str) -> usize {
    host::processes(id).len() + host::with_argument(id).len()
}

#[test]
fn a_check_that_hangs_leaves_nothing_behind() {
    let namespace = Namespace::new("frozen");
    let (runtime, client) = runtime();
    let (rounds, at_once) = if full() { (50, 20) } else { (2, 10) };
    apply(&states::pod(&namespace.0, "all", &json!({})));
    let id = running_id(&says(&namespace, "all", "ready")).unwrap();
    let before = processes(&id);
    let mut most = 0;
    for _ in 0..rounds {
        let frozen = Frozen::pod_of(&id);
        let hanging = (0..at_once).map(|_| exec(&client, command(&namespace, "all", Duration::from_secs(1))));
        let ended = runtime.block_on(join_all(hanging));
        most = most.max(processes(&id));
        drop(frozen);
        for outcome in ended {
            assert!(matches!(outcome, Err(ExecError::Deadline(_))), "{outcome:?}");
        }
        eventually("nothing but the daemon", || {
            let now = processes(&id);
            if now == before { Ok(()) } else { Err(format!("{now} processes, {before} before")) }
        });
    }
    eprintln!("{} checks hung; up to {most} processes at a time, and {before} after each time", rounds * at_once);
    let output = runtime.block_on(exec(&client, command(&namespace, "all", Duration::from_secs(10)))).unwrap();
    assert_eq!(judge(&parse(&output.stdout).unwrap(), &Wanted::default()).state, State::Locked);
    assert_eq!(running_id(&namespace.get("all").unwrap()), Some(id), "the same container");
}

/// Kinds of which nothing special is expected.
const ANY: Kinds = Kinds { never_locked: &[], killed: &[], times: 0 };
/// How soon a new pod has its verdict, whoever hangs beside it.
const SOON: Duration = Duration::from_secs(2);
/// The interval of the installation that the tests run on, its jitter, the deadline of an exec, and a write.
const UNTIL_UNKNOWN: Duration = Duration::from_secs(30);

#[test]
fn a_frozen_device_is_unknown_and_holds_up_no_other() {
    let namespace = Namespace::new("frozen-device");
    let observer = Observer::of(&namespace, ANY);
    apply(&fleet::device(&namespace, "frozen", "all", &json!({})));
    let id = running_id(&namespace.state("frozen", "locked")).unwrap();
    let before = processes(&id);
    let frozen = Frozen::pod_of(&id);
    eventually_within(UNTIL_UNKNOWN, "a look that hangs", || {
        if processes(&id) > before { Ok(()) } else { Err("nobody has come yet".to_owned()) }
    });
    let beside = |name: &str| {
        apply(&fleet::device(&namespace, name, "all", &json!({})));
        let took = eventually(&format!("a verdict on {name}"), || observer.wait(name).ok_or("none".to_owned()));
        assert_eq!(label(&observer.pod(name).unwrap()), Some("locked"));
        took
    };
    // While the look hangs, and while its node is held for one that may hang again.
    let during = beside("during");
    let pod = eventually_within(UNTIL_UNKNOWN, "unknown", || {
        let pod = observer.pod("frozen").unwrap();
        if label(&pod) == Some("unknown") { Ok(pod) } else { Err(format!("{:?}", label(&pod))) }
    });
    assert_eq!(running_id(&pod).as_ref(), Some(&id), "the same container");
    assert_eq!(condition(&pod)["reason"], json!("CannotCheck"), "{}", condition(&pod));
    let after = beside("after");
    eprintln!(
        "beside a frozen device: a verdict after {} ms while a look hung, {} ms later",
        during.as_millis(),
        after.as_millis()
    );
    assert!(during < SOON && after < SOON, "{during:?}, {after:?}");
    let hanging = processes(&id) - before;
    // Neither a look nor anything else says that it is locked, nor does another look come, for two intervals.
    let since = Instant::now();
    while since.elapsed() < UNTIL_UNKNOWN {
        let pod = observer.pod("frozen").unwrap();
        assert_eq!(label(&pod), Some("unknown"), "{}", condition(&pod));
        assert!(processes(&id) <= before + hanging, "another look came while one hung");
        std::thread::sleep(Duration::from_millis(500));
    }
    drop(frozen);
    eventually("nothing but the daemon", || {
        let now = processes(&id);
        if now == before { Ok(()) } else { Err(format!("{now} processes, {before} before")) }
    });
    assert_eq!(running_id(&namespace.get("frozen").unwrap()), Some(id), "the same container");
}

/// A pod whose every process stands still, until this goes.
struct Frozen(PathBuf);

impl Frozen {
    /// Of the whole pod: the runtime refuses an exec where the container itself is frozen.
    fn pod_of(id: &str) -> Self {
        let state = host::group("freezer", id).parent().unwrap().join("freezer.state");
        fs::write(&state, "FROZEN").unwrap();
        Self(state)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        fs::write(&self.0, "THAWED").unwrap();
    }
}
