//! Rows as text: a table, objects, names.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{Order, Output, Shape, join::Row};
use crate::{
    api::SwapDeviceState,
    cli::{
        cluster::table::{Cell, Columns, Tone, age},
        manifest::render,
    },
};

const NARROW: [&str; 9] = ["NAME", "POD", "CONTAINER", "STATE", "LOCKED", "UNLOCKED", "SWAPPED", "REASON", "AGE"];
const WIDE: [&str; 8] = ["NODE", "DEVICE", "DEVICE-USE", "NODE-SWAP", "MEMORY-LEFT", "SWAP-MAX", "QOS", "MESSAGE"];

/// Worst first, as a pod's state is that of its worst container.
fn rank(state: SwapDeviceState) -> u8 {
    match state {
        SwapDeviceState::Swapped => 0,
        SwapDeviceState::Unlocked => 1,
        SwapDeviceState::Partial => 2,
        SwapDeviceState::Unknown => 3,
        SwapDeviceState::NotInjected => 4,
        SwapDeviceState::Pending => 5,
        SwapDeviceState::Locked => 6,
    }
}

pub(super) fn sort(rows: &mut [Row], order: Order) {
    let name = |row: &Row| (row.namespace().to_owned(), row.device.name_any());
    match order {
        Order::Name => rows.sort_by_key(name),
        Order::State => rows.sort_by_key(|row| (rank(row.state()), name(row))),
        Order::Age => rows.sort_by_key(|row| (Reverse(row.device.creation_timestamp()), name(row))),
        Order::Node => rows.sort_by_key(|row| (row.device.spec.node.clone(), name(row))),
    }
}

/// One sentence: how many of each state, and where to read on.
pub(super) fn summary(rows: &[Row]) -> impl Iterator<Item = String> {
    let mut counts: BTreeMap<u8, (usize, SwapDeviceState)> = BTreeMap::new();
    for row in rows {
        counts.entry(rank(row.state())).or_insert((0, row.state())).0 += 1;
    }
    let counts: Vec<String> = counts.values().rev().map(|(count, state)| format!("{count} {state:?}")).collect();
    let worst = rows.iter().min_by_key(|row| rank(row.state()));
    let further = worst.filter(|row| row.state() != SwapDeviceState::Locked).map(|row| {
        format!("; why, and what to do: kubectl memlock explain {} -n {}", row.device.spec.pod, row.namespace())
    });
    let things = if rows.len() == 1 { "container" } else { "containers" };
    let sentence = format!("{} {things}: {}{}", rows.len(), counts.join(", "), further.unwrap_or_default());
    (!rows.is_empty()).then_some(sentence).into_iter()
}

/// A printer that remembers its widths, and what it has printed of each row.
pub(super) struct Table {
    shape: Shape,
    namespaces: bool,
    paints: bool,
    columns: Columns,
    begun: bool,
    printed: BTreeMap<(String, String), Row>,
}

impl Table {
    pub(super) fn new(shape: &Shape, namespaces: bool, paints: bool) -> Self {
        let (shape, columns) = (shape.clone(), Columns::default());
        Self { shape, namespaces, paints, columns, begun: false, printed: BTreeMap::new() }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.shape.output, Output::Table | Output::Wide)
    }

    /// All rows at once.
    pub(super) fn print(&mut self, rows: &[Row], now: Timestamp) -> String {
        self.remember(rows);
        match self.shape.output {
            Output::Table | Output::Wide => self.lines(rows, now),
            Output::Json => json_text(&list(rows)),
            Output::Yaml => render::document(&list(rows), None, render::Style::default()),
            Output::Name => names(rows),
        }
    }

    /// Those of them that are other than when they were last printed.
    pub(super) fn print_changed(&mut self, rows: &[Row], now: Timestamp) -> String {
        let changed: Vec<Row> = rows.iter().filter(|row| self.is_news(row)).cloned().collect();
        self.remember(&changed);
        let yaml = |row: &Row| format!("---\n{}", render::document(&object(row), None, render::Style::default()));
        match self.shape.output {
            _ if changed.is_empty() => String::new(),
            Output::Table | Output::Wide => self.lines(&changed, now),
            Output::Json => changed.iter().map(|row| json_text(&object(row))).collect(),
            Output::Yaml => changed.iter().map(yaml).collect(),
            Output::Name => names(&changed),
        }
    }

    fn remember(&mut self, rows: &[Row]) {
        self.printed.extend(rows.iter().map(|row| (key(row), row.clone())));
    }

    /// An object may be written without anything in it that is shown.
    fn is_news(&self, row: &Row) -> bool {
        let shown = |row: &Row| (row.exists, row.device.spec.clone(), row.device.status.clone());
        self.printed.get(&key(row)).is_none_or(|before| shown(before) != shown(row))
    }

    fn lines(&mut self, rows: &[Row], now: Timestamp) -> String {
        let wide = self.shape.output == Output::Wide;
        let mut lines: Vec<Vec<Cell>> = Vec::new();
        if !self.begun && !self.shape.no_headers {
            let namespace = self.namespaces.then_some("NAMESPACE");
            let words = namespace.into_iter().chain(NARROW).chain(WIDE.into_iter().filter(|_| wide));
            lines.push(words.map(|word| Cell::new(word, Tone::Plain)).collect());
        }
        self.begun = true;
        lines.extend(rows.iter().map(|row| cells(row, self.namespaces, wide, now)));
        self.columns.lines(&lines, self.paints)
    }
}

fn key(row: &Row) -> (String, String) {
    (row.namespace().to_owned(), row.device.name_any())
}

fn cells(row: &Row, namespaces: bool, wide: bool, now: Timestamp) -> Vec<Cell> {
    let (device, condition) = (&row.device, row.condition());
    let figure = |pick: fn(&crate::api::SwapDeviceStatus) -> &Option<String>| {
        device.status.as_ref().and_then(|status| pick(status).clone()).unwrap_or_default()
    };
    let born = device.creation_timestamp().map(|time| age(now.duration_since(time.0).as_secs()));
    let tone = match row.state() {
        SwapDeviceState::Locked => Tone::Good,
        SwapDeviceState::Swapped | SwapDeviceState::Unlocked | SwapDeviceState::Partial => Tone::Bad,
        SwapDeviceState::Unknown | SwapDeviceState::NotInjected | SwapDeviceState::Pending => Tone::Doubtful,
    };
    let plain = |words: &str| Cell::new(words, Tone::Plain);
    let mut cells: Vec<Cell> = namespaces.then(|| plain(row.namespace())).into_iter().collect();
    cells.extend([
        plain(&device.name_any()),
        plain(&device.spec.pod),
        plain(&device.spec.container),
        Cell::new(&format!("{:?}", row.state()), tone),
        plain(&figure(|status| &status.locked)),
        plain(&figure(|status| &status.unlocked)),
        plain(&figure(|status| &status.swapped)),
        plain(condition.map_or("", |condition| &condition.reason)),
        plain(&born.unwrap_or_else(|| "<unknown>".to_owned())),
    ]);
    if wide {
        cells.extend([
            plain(device.spec.node.as_deref().unwrap_or_default()),
            plain(device.spec.device.as_deref().unwrap_or_default()),
            plain(&figure(|status| &status.device_use)),
            plain(&figure(|status| &status.node_swap)),
            plain(&figure(|status| &status.memory_left)),
            plain(&figure(|status| &status.swap_max)),
            plain(&figure(|status| &status.qos)),
            plain(condition.map_or("", |condition| &condition.message)),
        ]);
    }
    cells
}

/// Without managedFields, as kubectl prints objects.
fn object(row: &Row) -> Value {
    let mut device = row.device.clone();
    device.metadata.managed_fields = None;
    json!(device)
}

fn list(rows: &[Row]) -> Value {
    let items: Vec<Value> = rows.iter().map(object).collect();
    json!({ "apiVersion": "v1", "items": items, "kind": "List", "metadata": { "resourceVersion": "" } })
}

fn json_text(value: &Value) -> String {
    format!("{}\n", render::json(value, None, Some("    ")))
}

/// Only what kubectl finds under the name.
fn names(rows: &[Row]) -> String {
    let existing = rows.iter().filter(|row| row.exists);
    existing.flat_map(|row| ["swapdevice.memlock.dev/".to_owned(), row.device.name_any(), "\n".to_owned()]).collect()
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
