use std::sync::{Arc, atomic::Ordering};

use kube::client::ClientBuilder;
use prometheus_client::registry::Registry;
use rstest::rstest;
use serde_json::json;
use tokio::time::sleep;

use super::*;

#[path = "lead_world.rs"]
mod world;

use world::{Contender, Link, World};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn leader<'a>(world: &World, all: &'a [Contender]) -> &'a Contender {
    let (_, by) = world.last();
    all.iter().find(|contender| contender.identity == by).expect("one leads")
}

async fn two(world: &World) -> Vec<Contender> {
    let all = vec![world.contender("a"), world.contender("b")];
    sleep(seconds(10)).await;
    all
}

fn loss(ended: Result<()>) -> LeaseError {
    *ended.unwrap_err().downcast_ref().expect("a loss of the lease")
}

#[tokio::test(start_paused = true)]
async fn of_three_one_leads_and_hands_over_without_waiting_for_the_end_of_the_lease() {
    let world = World::new();
    let mut all = vec![world.contender("a"), world.contender("b"), world.contender("c")];
    for round in 0..3 {
        sleep(seconds(10)).await;
        assert!(all.iter().all(|c| c.readiness.waiting_for().is_empty()), "those who wait are ready");
        let by = leader(&world, &all).identity.clone();
        let spec = world.spec();
        assert_eq!((&spec["holderIdentity"], &spec["leaseTransitions"]), (&json!(by), &json!(round + 1)));
        let stopped = all.remove(all.iter().position(|c| c.identity == by).unwrap());
        let asked = world.start.elapsed();
        stopped.shutdown.request();
        stopped.task.await.unwrap().unwrap();
        assert_eq!(world.spec()["holderIdentity"], json!(null));
        if !all.is_empty() {
            sleep(seconds(4)).await;
            let writes = world.server.lock().unwrap().writes.clone();
            let next = writes.iter().find(|(at, writer)| *at > asked && *writer != by).expect("a next leader");
            assert!(next.0.saturating_sub(asked) < seconds(3), "{next:?} after {asked:?}");
        }
    }
    assert_eq!(world.leaders().len(), 3);
}

#[rstest]
#[case::cut(Link { cut: true, ..Link::default() })]
#[case::answers_lost_for_ever(Link { deaf: true, ..Link::default() })]
#[case::too_slow(Link { delay: seconds(5), ..Link::default() })]
#[case::refused(Link { refuse: Some(500), ..Link::default() })]
#[case::overloaded(Link { refuse: Some(429), ..Link::default() })]
#[tokio::test(start_paused = true)]
async fn a_leader_without_answers_stops_before_another_one_starts(#[case] link: Link) {
    let world = World::new();
    let all = two(&world).await;
    let (old, since) = (leader(&world, &all), world.start.elapsed());
    old.link(link);
    while !old.task.is_finished() {
        sleep(Duration::from_millis(100)).await;
    }
    let ended = world.start.elapsed().saturating_sub(since);
    // Its deadline runs from the start of its last renewal, and no call that is under way outlasts it.
    assert!((seconds(7)..Duration::from_millis(10_200)).contains(&ended), "gave up after {ended:?}");
    sleep(seconds(30)).await;
    let leaders = world.leaders();
    assert_eq!((leaders.len(), leaders.first()), (2, Some(&old.identity)));
    for contender in all {
        if contender.task.is_finished() {
            assert_eq!(loss(contender.task.await.unwrap()), LeaseError::Deadline);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_under_way_does_not_outlast_the_deadline() {
    let world = World::new();
    let all = two(&world).await;
    let (old, since) = (leader(&world, &all), world.start.elapsed());
    old.link(Link { refuse: Some(500), ..Link::default() });
    sleep(Duration::from_millis(6_500)).await;
    // What is asked now would wait for its answer until long after the deadline.
    old.link(Link { cut: true, ..Link::default() });
    while !old.task.is_finished() {
        sleep(Duration::from_millis(100)).await;
    }
    let ended = world.start.elapsed().saturating_sub(since);
    assert!(ended < Duration::from_millis(10_200), "gave up after {ended:?}");
}

#[rstest]
#[case::slow(Link { delay: Duration::from_millis(1_900), ..Link::default() }, 60)]
#[case::gone_for_a_moment(Link { cut: true, ..Link::default() }, 4)]
#[case::answers_lost_for_a_moment(Link { deaf: true, ..Link::default() }, 3)]
#[case::overloaded_for_a_moment(Link { refuse: Some(429), ..Link::default() }, 6)]
#[tokio::test(start_paused = true)]
async fn a_leader_outlives_a_bad_moment(#[case] link: Link, #[case] lasting: u64) {
    let world = World::new();
    let all = two(&world).await;
    for contender in &all {
        contender.link(link);
    }
    sleep(seconds(lasting)).await;
    for contender in &all {
        contender.link(Link::default());
    }
    sleep(seconds(60)).await;
    assert_eq!(world.leaders().len(), 1);
    assert!(world.start.elapsed().saturating_sub(world.last().0) < seconds(1));
    assert_eq!(world.spec()["leaseTransitions"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_sends_nothing_when_it_wakes_up() {
    let world = World::new();
    let all = two(&world).await;
    let old = leader(&world, &all);
    old.frozen.store(true, Ordering::Relaxed);
    sleep(seconds(40)).await;
    let taken = world.last().1;
    assert_ne!(taken, old.identity, "the other one leads");
    old.frozen.store(false, Ordering::Relaxed);
    sleep(seconds(10)).await;
    assert!(old.task.is_finished());
    assert_eq!(world.leaders(), [old.identity.clone(), taken]);
}

#[tokio::test(start_paused = true)]
async fn a_short_freeze_changes_nothing() {
    let world = World::new();
    let all = two(&world).await;
    let old = leader(&world, &all);
    old.frozen.store(true, Ordering::Relaxed);
    sleep(seconds(6)).await;
    old.frozen.store(false, Ordering::Relaxed);
    sleep(seconds(60)).await;
    assert_eq!(world.leaders(), std::slice::from_ref(&old.identity));
}

#[tokio::test(start_paused = true)]
async fn foreign_writes_to_the_object_cost_nobody_the_lease() {
    let world = World::new();
    let _all = two(&world).await;
    for count in 0..100 {
        {
            let mut server = world.server.lock().unwrap();
            let mut object = server.object.clone().unwrap();
            object["metadata"]["annotations"] = json!({ "count": count.to_string() });
            server.put(object);
        }
        sleep(Duration::from_millis(700)).await;
    }
    assert_eq!(world.leaders().len(), 1);
    assert_eq!(world.spec()["leaseTransitions"], json!(1));
    let annotations = world.server.lock().unwrap().object.clone().unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations, json!({ "count": "99" }), "and the lease's writes cost nobody an annotation");
}

/// What a dead holder's clock wrote does not matter: its record is taken over after its life, seen here.
#[rstest]
#[case::long_ago("1971-01-01T00:00:00.000000Z")]
#[case::far_ahead("2199-01-01T00:00:00.000000Z")]
#[tokio::test(start_paused = true)]
async fn times_in_the_record_are_not_believed(#[case] time: &str) {
    let world = World::new();
    let spec = json!({ "holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 7, "renewTime": time, "acquireTime": time });
    world.server.lock().unwrap().put(json!({ "metadata": { "name": "l" }, "spec": spec }));
    let _all = [world.contender("a"), world.contender("b")];
    sleep(seconds(30)).await;
    let first = world.server.lock().unwrap().writes.first().cloned().unwrap().0;
    assert!((seconds(15)..seconds(20)).contains(&first), "{first:?}");
    assert_eq!((world.leaders().len(), &world.spec()["leaseTransitions"]), (1, &json!(8)));
}

#[tokio::test(start_paused = true)]
async fn whoever_deletes_the_lease_ends_the_leader_and_the_next_one_waits_for_a_whole_life() {
    let world = World::new();
    let all = two(&world).await;
    let old = leader(&world, &all).identity.clone();
    let deleted = world.start.elapsed();
    world.server.lock().unwrap().object = None;
    sleep(seconds(20)).await;
    assert_ne!(world.last().1, old);
    let writes = world.server.lock().unwrap().writes.clone();
    let next = writes.iter().find(|(at, by)| *at > deleted && *by != old).unwrap().0;
    assert!(next >= deleted + seconds(15), "deleted at {deleted:?}, led again at {next:?}");
    for contender in all {
        if contender.identity == old {
            assert!(matches!(loss(contender.task.await.unwrap()), LeaseError::Deleted | LeaseError::TakenOver));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_early_is_an_error_of_its_own_and_gives_the_lease_back() {
    let world = World::new();
    let client = ClientBuilder::new(world.transport(Arc::default()), "n").build();
    let metrics = Metrics::register(&mut Registry::default());
    let lease = Lease::new(Lease::api(&client, "n"), "l".to_owned(), "a", metrics, Readiness::new([]), "lease");
    let ended = Box::pin(lease.lead(Shutdown::default(), async { anyhow::bail!("broken") })).await;
    assert_eq!(ended.unwrap_err().to_string(), "broken");
    assert_eq!(world.spec()["holderIdentity"], json!(null));
}

/// Freezes, cuts, slow and deaf links at random over twenty minutes, with contenders that start anew when they end.
#[rstest]
#[tokio::test(start_paused = true)]
async fn never_two_at_once_whatever_happens(#[values(1, 2, 3, 4)] seed: u64) {
    let world = World::new();
    let names = ["a", "b", "c"];
    let mut all: Vec<_> = names.iter().map(|name| world.contender(name)).collect();
    let mut random = seed;
    let mut next = |below: u64| {
        // Knuth's MMIX generator; the low bits are poor.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    while world.start.elapsed() < seconds(1_200) {
        for (contender, name) in all.iter_mut().zip(names) {
            if contender.task.is_finished() {
                *contender = world.contender(name);
            }
            contender.frozen.store(next(6) == 0, Ordering::Relaxed);
            contender.link(match next(8) {
                0 => Link { cut: true, ..Link::default() },
                1 => Link { deaf: true, ..Link::default() },
                2 => Link { delay: Duration::from_millis(next(4_000)), ..Link::default() },
                3 => Link { refuse: Some(429), ..Link::default() },
                _ => Link { delay: Duration::from_millis(next(50)), ..Link::default() },
            });
        }
        sleep(Duration::from_millis(500 + next(15_000))).await;
    }
    assert!(world.leaders().len() > 5, "something happened");
}
