use std::collections::HashMap;

use super::*;
use crate::domain::verdict::{Figures, Reason, State};

const INTERVAL: Duration = Duration::from_mins(5);

/// A cluster of one namespace that takes every write, as the API server would.
struct Cluster {
    ledger: Ledger,
    objects: HashMap<DeviceName, SwapDevice>,
    version: u64,
    now: Instant,
    /// What was called, in order.
    calls: Vec<String>,
}

impl Cluster {
    fn new() -> Self {
        let mut ledger = Ledger::new(INTERVAL, 1);
        ledger.seen(Seen::Listed(None, HashSet::new()), Instant::now());
        ledger.pods_are(&HashSet::new(), Instant::now());
        Self { ledger, objects: HashMap::new(), version: 1, now: Instant::now(), calls: Vec::new() }
    }

    /// A controller that knows nothing beside these objects.
    fn restarted(self) -> Self {
        let mut ledger = Ledger::new(INTERVAL, 1);
        for (name, device) in &self.objects {
            ledger.seen(Seen::There(name.clone(), Box::new(Standing::of(device))), self.now);
        }
        ledger.seen(Seen::Listed(None, self.objects.keys().cloned().collect()), self.now);
        Self { ledger, calls: Vec::new(), ..self }
    }

    fn pod(&mut self, uid: &str, containers: &[(&str, Option<&str>)]) {
        let containers = containers.iter().map(|(name, id)| Container {
            name: (*name).into(),
            id: id.map(Into::into),
            settled: id.is_none().then(|| Verdict::pending("waits")),
        });
        let subject = Subject {
            key: key(),
            uid: uid.into(),
            node: Some("w".into()),
            device: None,
            qos: None,
            containers: containers.collect(),
        };
        self.ledger.pod(subject, self.now);
        self.run();
    }

    fn checked(&mut self, uid: &str, id: &str, state: State, locked_kb: u64) {
        let figures = Some(Figures { locked_kb, ..Figures::default() });
        let verdict = Verdict { state, reason: Reason::Locked, figures, message: "x".into() };
        let said = vec![("c".to_owned(), Said::new(Some(id.into()), verdict))];
        self.ledger.checked(&key(), uid, said, self.now);
        self.run();
    }

    /// Makes all steps that are due, each with the answer of the API server and, later, the news of the watch.
    fn run(&mut self) {
        for _ in 0..20 {
            let steps = self.ledger.steps(self.now, Timestamp::UNIX_EPOCH);
            if steps.is_empty() {
                return;
            }
            for step in steps {
                self.make(step);
            }
        }
        panic!("it never ends: {:?}", self.calls);
    }

    fn make(&mut self, step: Step) {
        let (name, what, object) = match step {
            Step::Create(name, device) => (name.clone(), "create", self.put(&name, *device)),
            Step::Change { name, device, .. } => (name.clone(), "change", self.put(&name, *device)),
            Step::Delete(name, _) => {
                self.objects.remove(&name);
                (name, "delete", Object::Absent)
            }
        };
        let state = self.objects.get(&name).and_then(|d| d.status.as_ref()).map(|s| format!(" {:?}", s.state));
        self.calls.push(format!("{what} {}{}", name.name, state.unwrap_or_default()));
        let ours = matches!(object, Object::There(_));
        self.ledger.ended(&name, Ended { object: Some(object), failed: false, ours }, self.now);
        self.tell(&name);
    }

    fn put(&mut self, name: &DeviceName, mut device: SwapDevice) -> Object {
        self.version += 1;
        let uid = self.objects.get(name).and_then(|d| d.metadata.uid.clone());
        device.metadata.uid = uid.or_else(|| Some(format!("o-{}", self.version)));
        device.metadata.resource_version = Some(self.version.to_string());
        let standing = Standing::of(&device);
        self.objects.insert(name.clone(), device);
        Object::There(Box::new(standing))
    }

    /// The watch shows what stands.
    fn tell(&mut self, name: &DeviceName) {
        if let Some(device) = self.objects.get(name) {
            self.ledger.seen(Seen::There(name.clone(), Box::new(Standing::of(device))), self.now);
        }
    }

    /// Somebody edits the object.
    fn edit(&mut self, edit: impl FnOnce(&mut SwapDevice)) {
        let mut device = self.objects[&name()].clone();
        edit(&mut device);
        self.put(&name(), device);
        self.tell(&name());
    }

    fn later(&mut self, by: Duration) {
        self.now += by;
        self.run();
    }

    fn calls(&mut self) -> Vec<String> {
        std::mem::take(&mut self.calls)
    }
}

fn key() -> PodKey {
    PodKey { namespace: "n".into(), name: "p".into() }
}

fn name() -> DeviceName {
    DeviceName::of(&key(), "c")
}

/// Pod u-1 with container c, checked and locked.
fn locked() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.pod("u-1", &[("c", Some("a"))]);
    cluster.checked("u-1", "a", State::Locked, 1000);
    assert_eq!(cluster.calls(), ["create p.c Locked"]);
    cluster
}

#[test]
fn one_object_a_container_and_one_write_a_change() {
    let mut cluster = Cluster::new();
    cluster.pod("u-1", &[("c", None), ("d", None)]);
    assert_eq!(cluster.calls(), ["create p.c Pending", "create p.d Pending"]);
    cluster.pod("u-1", &[("c", Some("a")), ("d", None)]);
    assert_eq!(cluster.calls(), [""; 0], "pending until it is checked");
    cluster.checked("u-1", "a", State::Locked, 1000);
    assert_eq!(cluster.calls(), ["change p.c Locked"]);
    for _ in 0..3 {
        cluster.later(INTERVAL);
        cluster.checked("u-1", "a", State::Locked, 1050);
    }
    assert_eq!(cluster.calls(), [""; 0], "less than a step");
    cluster.checked("u-1", "a", State::Locked, 2000);
    assert_eq!(cluster.calls(), ["change p.c Locked"]);
}

#[test]
fn a_pod_without_a_node_is_shown_a_moment_later() {
    let mut cluster = Cluster::new();
    cluster.ledger.pod(Subject { node: None, ..waiting("p") }, cluster.now);
    cluster.run();
    assert_eq!(cluster.calls(), [""; 0]);
    cluster.later(PATIENCE);
    assert_eq!(cluster.calls(), ["create p.c Pending"]);
}

#[test]
fn nothing_is_written_before_it_is_known_what_stands() {
    let mut cluster = Cluster::new();
    cluster.ledger = Ledger::new(INTERVAL, 1);
    cluster.pod("u-1", &[("c", None)]);
    assert_eq!(cluster.calls(), [""; 0]);
    cluster.ledger.seen(Seen::Listed(None, HashSet::new()), cluster.now);
    cluster.run();
    assert_eq!(cluster.calls(), ["create p.c Pending"]);
}

#[test]
fn pods_that_come_and_go_while_a_list_is_missing_leave_nothing() {
    let mut ledger = Ledger::new(INTERVAL, 1);
    let now = Instant::now();
    ledger.pod(waiting("p"), now);
    ledger.gone(&PodKey { namespace: "n".into(), name: "p".into() }, now);
    assert!(ledger.entries.is_empty() && ledger.due.is_empty());
}

#[test]
fn a_list_speaks_of_its_namespace_alone() {
    let mut cluster = locked();
    cluster.later(PATIENCE);
    for (namespace, written) in [("other", &[][..]), ("n", &["create p.c Locked"])] {
        cluster.ledger.seen(Seen::Listed(Some(namespace.into()), HashSet::new()), cluster.now);
        cluster.run();
        assert_eq!(cluster.calls(), written);
    }
    let mut two = Ledger::new(INTERVAL, 2);
    two.pod(waiting("p"), cluster.now);
    for (namespace, ready) in [("n", false), ("n", false), ("other", true)] {
        two.seen(Seen::Listed(Some(namespace.into()), HashSet::new()), cluster.now);
        assert_eq!(two.next_due().is_some(), ready, "all are waited for");
    }
}

#[test]
fn a_restart_of_the_controller_writes_nothing_that_is_so() {
    let mut cluster = locked().restarted();
    cluster.pod("u-1", &[("c", Some("a"))]);
    cluster.checked("u-1", "a", State::Locked, 1000);
    cluster.later(INTERVAL);
    assert_eq!(cluster.calls(), [""; 0]);
    let mut cluster = cluster.restarted();
    cluster.pod("u-1", &[("c", Some("b"))]);
    assert_eq!(cluster.calls(), ["change p.c Pending"], "the container was restarted meanwhile");
}

#[test]
fn a_restarted_container_is_pending_at_once() {
    let mut cluster = locked();
    cluster.pod("u-1", &[("c", Some("b"))]);
    assert_eq!(cluster.calls(), ["change p.c Pending"]);
    cluster.checked("u-1", "a", State::Locked, 1000);
    assert_eq!(cluster.calls(), [""; 0], "the verdict on the run before is nobody's");
    cluster.checked("u-1", "b", State::Unlocked, 0);
    assert_eq!(cluster.calls(), ["change p.c Unlocked"]);
}

#[test]
fn an_object_of_an_older_pod_goes_first() {
    let mut cluster = locked();
    cluster.ledger.gone(&key(), cluster.now);
    cluster.pod("u-2", &[("c", None)]);
    assert_eq!(cluster.calls(), ["delete p.c", "create p.c Pending"]);
    cluster.checked("u-1", "a", State::Locked, 1000);
    assert_eq!(cluster.calls(), [""; 0], "a check of the older pod that ended late");
    let owner = &cluster.objects[&name()].metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.uid.as_str(), owner.controller, owner.block_owner_deletion), ("u-2", Some(false), None));
}

#[test]
fn opting_out_and_choosing_less_delete() {
    let mut cluster = Cluster::new();
    cluster.pod("u-1", &[("c", None), ("d", None)]);
    cluster.calls();
    cluster.pod("u-1", &[("d", None)]);
    assert_eq!(cluster.calls(), ["delete p.c"]);
    cluster.pod("u-1", &[]);
    assert_eq!(cluster.calls(), ["delete p.d"]);
    assert!(cluster.ledger.entries.is_empty(), "nothing is kept");
}

#[test]
fn what_a_foreign_hand_did_is_undone_but_not_in_a_race() {
    let mut cluster = locked();
    cluster.later(Duration::from_secs(5));
    cluster.edit(|device| device.status.as_mut().unwrap().conditions[0].message = "all is well".into());
    cluster.run();
    assert_eq!(cluster.calls(), ["change p.c Locked"]);
    cluster.edit(|device| device.spec.pod = "q".into());
    cluster.run();
    assert_eq!(cluster.calls(), [""; 0], "a second's pause");
    cluster.later(Duration::from_secs(1));
    assert_eq!(cluster.calls(), ["change p.c Locked"]);
    cluster.edit(|device| device.metadata.owner_references = None);
    cluster.later(Duration::from_secs(1));
    assert_eq!(cluster.calls(), ["change p.c Locked"]);

    let deleted = cluster.objects.remove(&name()).unwrap();
    cluster.ledger.seen(Seen::Gone(name(), deleted.metadata.uid.as_deref().unwrap().into()), cluster.now);
    cluster.later(Duration::from_secs(1));
    assert_eq!(cluster.calls(), ["create p.c Locked"]);
}

#[test]
fn old_news_of_the_watch_are_no_foreign_hand() {
    let mut cluster = locked();
    let before = cluster.objects[&name()].clone();
    cluster.checked("u-1", "a", State::Partial, 500);
    assert_eq!(cluster.calls(), ["change p.c Partial"]);
    cluster.ledger.seen(Seen::There(name(), Box::new(Standing::of(&before))), cluster.now);
    cluster.later(INTERVAL);
    assert_eq!(cluster.calls(), [""; 0]);
}

#[test]
fn a_definition_that_lacks_a_field_ends_in_no_loop() {
    let mut cluster = locked();
    cluster.pod("u-1", &[("c", Some("b"))]);
    let Some(Step::Change { name, mut device, .. }) = ({
        cluster.checked("u-1", "b", State::Unlocked, 0);
        cluster.calls();
        cluster.ledger.checked(
            &key(),
            "u-1",
            vec![("c".into(), Said::new(Some("b".into()), Verdict::unknown("x")))],
            cluster.now,
        );
        cluster.ledger.steps(cluster.now, Timestamp::UNIX_EPOCH).pop()
    }) else {
        panic!("a change is due")
    };
    device.status.as_mut().unwrap().container_id = None;
    let object = cluster.put(&name, *device);
    cluster.ledger.ended(&name, Ended { object: Some(object), failed: false, ours: true }, cluster.now);
    cluster.later(INTERVAL);
    assert_eq!(cluster.calls(), [""; 0]);
}

#[test]
fn the_garbage_collector_goes_before_us() {
    let mut cluster = locked();
    cluster.ledger.gone(&key(), cluster.now);
    cluster.later(Duration::from_secs(30));
    assert_eq!(cluster.calls(), [""; 0]);
    let mut collected = locked();
    collected.ledger.gone(&key(), collected.now);
    let uid = collected.objects.remove(&name()).unwrap().metadata.uid.unwrap();
    collected.ledger.seen(Seen::Gone(name(), uid.into()), collected.now);
    collected.run();
    assert!(collected.calls().is_empty() && collected.ledger.entries.is_empty());
    // A pod that opted out while no controller ran: nobody else would take its object away.
    cluster.later(COLLECTION);
    assert_eq!(cluster.calls(), ["delete p.c"]);
    let mut left_over = locked().restarted();
    left_over.later(COLLECTION * 3);
    assert_eq!(left_over.calls(), [""; 0], "the pods are not listed yet, and may be there");
    left_over.ledger.pods_are(&HashSet::new(), left_over.now);
    left_over.later(COLLECTION);
    assert_eq!(left_over.calls(), ["delete p.c"]);
}

#[test]
fn an_object_that_somebody_made_by_hand_is_left_alone() {
    let mut cluster = locked();
    let mut device = cluster.objects[&name()].clone();
    device.metadata.owner_references = None;
    let other = DeviceName { namespace: "n".into(), name: "by-hand".into() };
    cluster.ledger.seen(Seen::There(other, Box::new(Standing::of(&device))), cluster.now);
    cluster.later(INTERVAL);
    assert_eq!(cluster.calls(), [""; 0]);
}

#[test]
fn what_fails_is_tried_again_with_back_off() {
    let mut cluster = Cluster::new();
    cluster.ledger.pod(waiting("p"), cluster.now);
    for pause in [1, 2, 4] {
        let Some(Step::Create(name, _)) = cluster.ledger.steps(cluster.now, Timestamp::UNIX_EPOCH).pop() else {
            panic!("a create is due")
        };
        cluster.ledger.ended(&name, Ended { object: None, failed: true, ours: false }, cluster.now);
        assert!(cluster.ledger.steps(cluster.now, Timestamp::UNIX_EPOCH).is_empty());
        let due = cluster.now + Duration::from_secs(pause);
        cluster.now += Duration::from_millis(pause * 1_000 - 1);
        assert!(cluster.ledger.steps(cluster.now, Timestamp::UNIX_EPOCH).is_empty());
        assert_eq!((cluster.ledger.next_due(), cluster.ledger.failing()), (Some(due), 1));
        cluster.now = due;
    }
    cluster.run();
    assert_eq!((cluster.calls(), cluster.ledger.failing()), (vec!["create p.c Pending".to_owned()], 0));
}

#[test]
fn calls_that_hang_leave_room_for_no_more_than_a_few() {
    let mut cluster = Cluster::new();
    for pod in 0..20 {
        cluster.ledger.pod(waiting(&format!("p{pod}")), cluster.now);
    }
    let steps = cluster.ledger.steps(cluster.now, Timestamp::UNIX_EPOCH);
    assert_eq!((steps.len(), cluster.ledger.next_due()), (AT_ONCE, None));
    for step in steps {
        cluster.make(step);
    }
    cluster.run();
    assert_eq!(cluster.objects.len(), 20);
}

fn waiting(pod: &str) -> Subject {
    Subject {
        key: PodKey { namespace: "n".into(), name: pod.into() },
        uid: "u".into(),
        node: Some("w".into()),
        device: None,
        qos: None,
        containers: vec![Container { name: "c".into(), id: None, settled: Some(Verdict::pending("x")) }],
    }
}
