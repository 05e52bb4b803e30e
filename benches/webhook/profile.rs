//! Where the process spends its time, by `perf`.

use std::process::{Command, Stdio};

use super::server::Server;

/// Functions that are named one by one.
const NAMED: usize = 25;

/// What is looked for in a symbol, the first that fits, and what it is called.
const KINDS: [(&str, &[&str]); 8] = [
    ("cryptography", &["aes", "gcm", "ghash", "aws_lc", "rustls"]),
    ("JSON", &["serde", "json_patch", "jsonptr", "base64"]),
    ("decision and patch", &["memlock_operator::domain", "btree"]),
    ("memory", &["malloc", "free", "realloc", "memcpy", "memmove", "memset", "memcmp", "consolidate"]),
    ("log", &["tracing", "fmt", "write_str"]),
    ("HTTP", &["hyper", "axum", "tower", "http", "h2::", "httparse"]),
    ("runtime", &["tokio", "futures", "mio"]),
    ("review and answer", &["memlock_operator"]),
];

/// The profile of the process while the load lasts; `None` where there is no perf.
pub(super) async fn of<T>(server: &Server, load: impl Future<Output = T>) -> Option<String> {
    let data = server.folder().join("perf.data");
    let mut perf = Command::new("perf")
        .args(["record", "--event", "cpu-clock", "--freq", "997", "--pid", &server.id().to_string(), "--output"])
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    load.await;
    let interrupted = Command::new("kill").args(["-INT", &perf.id().to_string()]).status();
    perf.wait().ok()?;
    interrupted.ok()?;
    let report = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "--sort", "dso,symbol", "--field-separator", ";", "--input"])
        .arg(&data)
        .output()
        .ok()?;
    let lines = String::from_utf8_lossy(&report.stdout).into_owned();
    let rows: Vec<(f64, &str, &str)> = lines.lines().filter_map(row).collect();
    (!rows.is_empty()).then(|| text(&rows))
}

fn row(line: &str) -> Option<(f64, &str, &str)> {
    let mut fields = line.split(';').map(str::trim);
    let share = fields.next()?.trim_end_matches('%').parse().ok()?;
    Some((share, fields.next()?, fields.next()?))
}

fn kind(object: &str, symbol: &str) -> &'static str {
    if object.contains("kernel") {
        return "kernel: network, polling, system calls";
    }
    let symbol = symbol.to_lowercase();
    KINDS.iter().find(|(_, words)| words.iter().any(|word| symbol.contains(word))).map_or("other", |(name, _)| name)
}

fn text(rows: &[(f64, &str, &str)]) -> String {
    let mut sums = std::collections::BTreeMap::<&str, f64>::new();
    for (share, object, symbol) in rows {
        *sums.entry(kind(object, symbol)).or_default() += share;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sums = sums.into_iter().map(|(name, share)| format!("{share:>6.1} %  {name}\n"));
    let named = rows.iter().take(NAMED).map(|(share, _, symbol)| format!("{share:>6.2} %  {symbol}\n"));
    sums.chain(["\n".to_owned()]).chain(named).collect()
}
