//! No admission fails, no certificate is served that is not trusted, and never do two lead, whatever is done to the
//! product meanwhile. With `MEMLOCK_FULL` (`make availability`) certificates are replaced twenty times.

mod bundles;
mod disturb;
mod load;
mod record;
mod trust;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use jiff::Timestamp;
use memlock_operator::platform::client::connect;
use tokio::task::JoinHandle;

use crate::cluster::{Namespace, full, nbdkit, opted_in};

pub use disturb::{controller_pods, served_until, webhook_pods};

/// Fewest admissions of a window of 5 s: 20 a second.
const FEWEST: usize = 100;

/// A load of admissions, and eyes on the certificates, from one moment to another.
pub struct Watched {
    pub since: Timestamp,
    before: bundles::State,
    stop: Arc<AtomicBool>,
    runtime: tokio::runtime::Runtime,
    load: JoinHandle<load::Outcomes>,
    trust: JoinHandle<trust::Seen>,
}

impl Watched {
    /// Begins, with pods of this namespace that are not really created.
    pub fn new(namespace: &Namespace) -> Self {
        let (since, before) = (Timestamp::now(), bundles::now());
        let stop: Arc<AtomicBool> = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = runtime.block_on(connect()).unwrap();
        let pod = nbdkit("load", &opted_in(), &["--swap"]);
        let load = runtime.spawn(load::admit(client.clone(), namespace.0.clone(), pod, stop.clone()));
        let trust = runtime.spawn(trust::watch(client, stop.clone()));
        Self { since, before, stop, runtime, load, trust }
    }

    /// Ends it, says what was seen, and wants to have seen nothing wrong.
    pub fn end(self) {
        // Without it the last handshakes might be before the last change.
        sleep(Duration::from_secs(2));
        self.stop.store(true, Ordering::Relaxed);
        let outcomes = self.runtime.block_on(self.load).unwrap();
        let seen = self.runtime.block_on(self.trust).unwrap();

        let mut times: Vec<_> = outcomes.admitted.iter().map(|(_, took)| *took).collect();
        times.sort();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        let windows = outcomes.windows();
        let slowest = windows.iter().min().copied().unwrap_or_default();
        eprintln!(
            "{} admissions in {:.0} s, {} failed; fewest in {:?}: {slowest}; median {:?}, p99 {:?}, longest {:?}",
            times.len(),
            outcomes.lasted.as_secs_f64(),
            outcomes.failed.len(),
            load::WINDOW,
            at(50),
            at(99),
            at(100),
        );
        let leaves: BTreeSet<_> = seen.served.keys().collect();
        eprintln!(
            "{} handshakes trusted, {} wrong; {} leaves served; {} times a pod went away meanwhile",
            seen.trusted,
            seen.wrong.len(),
            leaves.len(),
            seen.went,
        );
        let failed = &outcomes.failed;
        assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(20)]);
        assert!(slowest >= FEWEST, "too few to tell: {windows:?}");
        assert!(seen.wrong.is_empty(), "{:?}", seen.wrong);
        assert!(seen.trusted > 50, "too few handshakes to tell");

        let states = bundles::since(self.before, self.since);
        let wrong = bundles::untrusted(&states, &seen.served);
        eprintln!("{} states of caBundle in the record, {} moments of distrust", states.len(), wrong.len());
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}

#[test]
fn nothing_fails_whatever_is_done_to_the_product() {
    let namespace = Namespace::new("availability");
    // Pods to check, so that a leader has something to write.
    for name in ["locked-1", "locked-2", "locked-3"] {
        assert!(namespace.create(&nbdkit(name, &opted_in(), &["--swap"])).status.success());
    }
    for name in ["locked-1", "locked-2", "locked-3"] {
        namespace.state(name, "locked");
    }
    let watched = Watched::new(&namespace);
    let since = watched.since;
    let [leaves, authorities] = disturb::disturb(if full() { [20, 4] } else { [2, 1] });
    eprintln!("{leaves} leaves and {authorities} authorities were replaced");
    watched.end();

    let record = record::read(&since.to_string());
    eprintln!(
        "{} writes of {} leaders in turn, {} by another",
        record.writes,
        record.leaders.len(),
        record.strange.len()
    );
    assert!(record.strange.is_empty(), "{:?}", record.strange);
    assert!(record.writes > 20 && record.leaders.len() > 3, "too little to tell: {record:?}");
}
