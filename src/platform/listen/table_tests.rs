use std::net::Ipv4Addr;

use super::*;

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const FLOOD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

const LIMITS: Limits = Limits {
    connections: 3,
    handshake: Duration::from_secs(5),
    headers: Duration::from_secs(6),
    idle: Duration::from_mins(2),
    request: Duration::from_secs(10),
};

fn table() -> Arc<Table> {
    Table::new(LIMITS, Metrics::default())
}

fn closed(place: &Place) -> bool {
    place.connection.drop.is_cancelled()
}

/// As if everything had happened that much earlier.
fn age(place: &Place, by: Duration) {
    let mut state = lock(&place.connection.state);
    state.since = state.since.checked_sub(by).unwrap();
    state.useful = state.useful.checked_sub(by).unwrap();
}

/// Looks at the deadlines that much later; whether it was asked to go, and closed at once.
fn swept(table: &Table, place: &Place, later: Duration) -> (bool, bool) {
    age(place, later);
    table.sweep();
    (place.connection.leave.is_cancelled(), closed(place))
}

#[test]
fn one_too_many_displaces_the_oldest_that_never_was_of_use() {
    let table = table();
    let used = table.enter(SERVER).unwrap();
    used.connection.ready();
    used.connection.begin().served();
    let (first, second) = (table.enter(SERVER).unwrap(), table.enter(SERVER).unwrap());
    for place in [&used, &first] {
        age(place, Duration::from_mins(1));
    }
    let third = table.enter(SERVER).unwrap();
    assert_eq!([&used, &first, &second, &third].map(closed), [false, true, false, false]);
    assert_eq!((table.len(), table.metrics.open.get()), (3, 3));
    // What was displaced has given its place away already.
    drop(first);
    assert_eq!((table.len(), table.metrics.open.get()), (3, 3));
    drop((used, second, third));
    assert_eq!((table.len(), table.metrics.open.get()), (0, 0));
}

#[test]
fn a_flood_from_one_address_displaces_itself() {
    let table = table();
    let server = table.enter(SERVER).unwrap();
    age(&server, Duration::from_mins(1));
    let mut flood = Vec::from([(); 5].map(|()| table.enter(FLOOD).unwrap()));
    assert!(!closed(&server), "one from its address, two from the other");
    assert_eq!(flood.iter().map(closed).collect::<Vec<_>>(), [true, true, true, false, false]);

    // What has had an answer is no stranger, and counts for none of them.
    server.connection.begin().served();
    let handshake = table.enter(SERVER).unwrap();
    age(&handshake, Duration::from_mins(1));
    flood.push(table.enter(FLOOD).unwrap());
    assert!(closed(&handshake), "one from each address: the oldest goes");

    drop((server, handshake, flood));
    table.sweep();
    assert!(lock(&table.rows).strangers.is_empty(), "addresses are forgotten");
}

#[test]
fn among_the_used_ones_the_longest_idle_goes() {
    let table = table();
    let places: Vec<Place> = (0..3).map(|_| table.enter(SERVER).unwrap()).collect();
    for (seconds, place) in [30, 50, 40].into_iter().zip(&places) {
        place.connection.begin().served();
        age(place, Duration::from_secs(seconds));
    }
    let _newest = table.enter(SERVER).unwrap();
    assert_eq!(places.iter().map(closed).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn an_answer_that_serves_nothing_proves_nothing() {
    let table = table();
    let places: Vec<Place> = (0..3).map(|_| table.enter(SERVER).unwrap()).collect();
    for (n, place) in places.iter().enumerate() {
        let work = place.connection.begin();
        if n == 1 { drop(work) } else { work.served() }
    }
    let _newest = table.enter(SERVER).unwrap();
    assert_eq!(places.iter().map(closed).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn work_is_not_displaced_but_what_does_not_end_is() {
    let table = table();
    let places: Vec<Place> = (0..3).map(|_| table.enter(SERVER).unwrap()).collect();
    let _work: Vec<Work> = places.iter().map(|place| place.connection.begin()).collect();
    assert!(table.enter(SERVER).is_none(), "all are at work");
    age(&places[2], WORK);
    assert!(table.enter(SERVER).is_some());
    assert!(closed(&places[2]));
}

#[test]
fn each_stage_has_its_deadline() {
    let table = table();
    let second = Duration::from_secs(1);
    let handshake = table.enter(SERVER).unwrap();
    assert_eq!(swept(&table, &handshake, LIMITS.handshake.saturating_sub(second)), (false, false));
    assert_eq!(swept(&table, &handshake, second), (false, true));

    let headers = table.enter(SERVER).unwrap();
    headers.connection.ready();
    headers.connection.heard();
    assert_eq!(swept(&table, &headers, LIMITS.headers.saturating_sub(second)), (false, false));
    // Further bytes do not begin anew.
    headers.connection.heard();
    assert_eq!(swept(&table, &headers, second), (false, true));

    let request = table.enter(SERVER).unwrap();
    request.connection.ready();
    let work = request.connection.begin();
    request.connection.heard();
    assert_eq!(swept(&table, &request, LIMITS.request.saturating_sub(second)), (false, false));
    assert_eq!(swept(&table, &request, second), (false, true));
    drop((handshake, headers, work, request));

    let idle = table.enter(SERVER).unwrap();
    idle.connection.ready();
    assert_eq!(swept(&table, &idle, LIMITS.idle.saturating_sub(second)), (false, false));
    assert_eq!(swept(&table, &idle, second), (true, false), "is asked to go");
    assert_eq!(swept(&table, &idle, FAREWELL), (true, true), "and does not");
}

#[test]
fn an_answer_begins_the_time_without_a_request_anew() {
    let table = table();
    let place = table.enter(SERVER).unwrap();
    place.connection.ready();
    let (first, second) = (place.connection.begin(), place.connection.begin());
    drop(first);
    // One of two requests of HTTP/2 is still under way.
    assert_eq!(swept(&table, &place, LIMITS.request), (false, true));
    drop(second);
    let place = table.enter(SERVER).unwrap();
    place.connection.ready();
    age(&place, LIMITS.idle);
    place.connection.begin().served();
    assert_eq!(swept(&table, &place, Duration::ZERO), (false, false));
}
