//! Connections that are opened only to be there.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use super::{connection::Way, victim::attack};

/// More than the webhook's deadlines for a handshake and for headers, with its sweep.
const DEADLINES: Duration = Duration::from_secs(7);
/// The webhook's 1,000 connections, and what else it has open.
const MOST_HELD: usize = 1_050;
/// Connections that are being opened at a time.
const OPENERS: usize = 100;

/// Opens so many connections, each in its own way, and keeps all that could be opened.
async fn open_many<S, F>(way: &Way, count: usize, open: fn(Way, usize) -> F) -> Vec<S>
where
    S: Send + 'static,
    F: Future<Output = std::io::Result<S>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for opener in 0..OPENERS {
        let way = way.clone();
        tasks.spawn(async move {
            let mut opened = Vec::new();
            for nth in (opener..count).step_by(OPENERS) {
                opened.extend(open(way.clone(), nth).await.ok());
            }
            opened
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// How many of them the other side has closed when the time is over.
async fn closed<S: AsyncRead + Unpin + Send + 'static>(streams: Vec<S>, within: Duration) -> usize {
    let end = Instant::now() + within;
    let mut tasks = JoinSet::new();
    for mut stream in streams {
        tasks.spawn(async move {
            let mut rest = [0; 256];
            let read = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
            tokio::time::timeout_at(end.into(), read).await.is_ok()
        });
    }
    tasks.join_all().await.into_iter().filter(|closed| *closed).count()
}

/// Files that this process may have open at a time: each connection is one.
fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    assert!(now.maximum.is_none_or(|most| most >= count), "raise the hard limit of open files to {count}: ulimit -Hn");
    if now.current.is_some_and(|current| current < count) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: now.maximum }).unwrap();
    }
}

#[test]
fn ten_thousand_idle_connections() {
    allow_files(12_000);
    attack("idle", |way| async move {
        let start = Instant::now();
        // A fifth with a handshake, which costs both sides a millisecond; the others are there without one.
        let idle = open_many(&way, 2_000, |way, nth| async move { way.open(nth).await }).await;
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.extend(open_many(&way, 2_000, |way, nth| async move { way.plain(nth).await }).await);
            // Is taken after all of them. More at once than the queue holds would be the kernel's affair: it drops what
            // comes, and a client tries again after a second.
            drop(way.open(0).await.unwrap());
        }
        let (opened, took) = (idle.len() + silent.len(), start.elapsed());
        assert_eq!(opened, 10_000, "every connection was taken");
        // What was displaced is closed by its own task.
        let end = Instant::now() + Duration::from_secs(1);
        while way.held() > MOST_HELD {
            assert!(Instant::now() < end, "{} are held", way.held());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let held = way.held();
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop((idle, silent));
        format!("{opened} idle connections, opened within {took:?}, {held} files held")
    });
}

/// Fewer than there may be at a time: none is closed to make room for another one.
#[test]
fn what_never_ends() {
    allow_files(4_000);
    attack("endless", |way| async move {
        let (handshakes, headers, http2) =
            tokio::join!(endless_handshakes(&way), endless_headers(&way), endless_headers_of_http2(&way));
        format!("{handshakes} half-open handshakes, {headers} slow requests, {http2} over HTTP/2")
    });
}

async fn endless_handshakes(way: &Way) -> usize {
    // A record of 512 bytes is said to come, and its first two do.
    let streams = open_many(way, 300, |way, nth| async move {
        let mut stream = way.plain(nth).await?;
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00").await?;
        Ok(stream)
    })
    .await;
    let opened = streams.len();
    assert_eq!(opened, 300);
    assert_eq!(closed(streams, DEADLINES).await, opened, "each is closed after its deadline");
    opened
}

async fn endless_headers(way: &Way) -> usize {
    let streams = open_many(way, 300, |way, nth| async move { way.open(nth).await }).await;
    let opened = streams.len();
    assert_eq!(opened, 300);
    let mut tasks = JoinSet::new();
    for stream in streams {
        tasks.spawn(async move {
            let (mut answers, mut requests) = tokio::io::split(stream);
            let head = b"POST /mutate/privileged HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
            let write = async {
                for byte in head.iter().chain([b'a'; 100].iter()) {
                    if requests.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            let mut rest = [0; 256];
            let read = async { while matches!(answers.read(&mut rest).await, Ok(1..)) {} };
            tokio::time::timeout(DEADLINES, async { tokio::join!(write, read) }).await.is_ok()
        });
    }
    let closed = tasks.join_all().await.into_iter().filter(|closed| *closed).count();
    assert_eq!(closed, opened, "each is closed after its deadline");
    opened
}

async fn endless_headers_of_http2(way: &Way) -> usize {
    // The preface, empty settings, and a block of headers that never ends: after a while the other side asks whether
    // anybody is there, and nothing but the rest of the headers could be said.
    let streams = open_many(&way.speaking(b"h2"), 300, |way, nth| async move {
        let mut stream = way.open(nth).await?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x83").await?;
        stream.flush().await?;
        Ok(stream)
    })
    .await;
    let opened = streams.len();
    assert_eq!(opened, 300);
    assert_eq!(closed(streams, Duration::from_secs(20)).await, opened, "each is closed when a ping was not answered");
    opened
}

/// The same bytes each time: a multiplier and an increment that reach every state.
fn garbage(seed: usize) -> Vec<u8> {
    let mut state = seed as u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..4096).map(next).collect()
}

#[test]
fn garbage_instead_of_a_request() {
    attack("garbage", |way| async move {
        let mut streams = Vec::new();
        for nth in 0..300 {
            let mut stream = way.plain(nth).await.unwrap();
            // It may be closed in the middle of them.
            let _ = stream.write_all(&garbage(nth)).await;
            streams.push(stream);
        }
        assert_eq!(closed(streams, DEADLINES).await, 300, "no handshake, no connection");
        for (protocol, preface) in [("http/1.1", ""), ("h2", ""), ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] {
            let way = way.speaking(protocol.as_bytes());
            let mut streams = Vec::new();
            for nth in 0..100 {
                let mut stream = way.open(nth).await.unwrap();
                let _ = stream.write_all(preface.as_bytes()).await;
                let _ = stream.write_all(&garbage(nth)).await;
                streams.push(stream);
            }
            assert_eq!(closed(streams, DEADLINES).await, 100, "{protocol}: garbage is no request");
        }
        "600 connections with garbage".to_owned()
    });
}
