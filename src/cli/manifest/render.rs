//! Values → YAML text that every reader understands alike, in the order in which the document had its keys.

use std::{collections::HashSet, fmt::Write as _};

use serde_json::{Map, Value};

use super::{
    node::{Kind, Node},
    scalar::{self, Schema},
};

/// How a document is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Columns that a mapping inside a mapping is indented by.
    pub(crate) step: usize,
    /// Columns that the dashes of a list inside a mapping are indented by.
    pub(crate) dash: usize,
}

impl Default for Style {
    /// kubectl's own.
    fn default() -> Self {
        Self { step: 2, dash: 0 }
    }
}

impl Style {
    /// The layout of the first nested block of each sort.
    pub(crate) fn of(node: &Node, text: &str) -> Self {
        let mut seen = (None, None);
        look(node, text, &mut seen);
        let style = Self::default();
        Self { step: seen.0.unwrap_or(style.step), dash: seen.1.unwrap_or(style.dash) }
    }
}

fn look(node: &Node, text: &str, seen: &mut (Option<usize>, Option<usize>)) {
    match &node.kind {
        Kind::Mapping { entries, flow: false } => {
            let own = column(text, node.start);
            for (_, value) in entries {
                let offset = column(text, value.start).checked_sub(own);
                match (&value.kind, offset) {
                    (Kind::Mapping { flow: false, .. }, Some(offset @ 1..=8)) if seen.0.is_none() => {
                        seen.0 = Some(offset);
                    }
                    (Kind::Sequence { flow: false, .. }, Some(offset @ 0..=8)) if seen.1.is_none() => {
                        seen.1 = Some(offset);
                    }
                    _ => {}
                }
                if seen.0.is_none() || seen.1.is_none() {
                    look(value, text, seen);
                }
            }
        }
        Kind::Sequence { items, flow: false } => {
            for item in items {
                if seen.0.is_none() || seen.1.is_none() {
                    look(item, text, seen);
                }
            }
        }
        _ => {}
    }
}

/// Columns from the start of the line.
pub(super) fn column(text: &str, at: usize) -> usize {
    let line = text.get(..at).unwrap_or_default();
    line.len() - line.rfind('\n').map_or(0, |newline| newline + 1)
}

/// A whole document, without a marker before it.
pub(crate) fn document(value: &Value, order: Option<&Node>, style: Style) -> String {
    let mut out = Writer { out: String::new(), style };
    match value {
        Value::Object(map) if !map.is_empty() => out.mapping(map, order, 0),
        Value::Array(items) if !items.is_empty() => out.sequence(items, order, 0),
        scalar => out.inline(scalar, 0),
    }
    out.out
}

/// `key: value` in block, as it stands at that column; the first line is not indented. Ends with a line break.
pub(super) fn entry(key: &str, value: &Value, order: Option<&Node>, column: usize, style: Style) -> String {
    let mut out = Writer { out: String::new(), style };
    out.entry(key, value, order, column);
    out.out
}

/// `- value`, likewise.
pub(super) fn item(value: &Value, order: Option<&Node>, column: usize, style: Style) -> String {
    let mut out = Writer { out: String::new(), style };
    out.item(value, order, column);
    out.out
}

/// On one line, inside brackets.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> =
                ordered(map, None).into_iter().map(|(key, value, _)| flow_entry(key, value)).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(text) => one_line(text, true),
        other => other.to_string(),
    }
}

/// `key: value` inside brackets.
pub(super) fn flow_entry(key: &str, value: &Value) -> String {
    format!("{}: {}", one_line(key, true), flow(value))
}

/// JSON with the order of the document. `indent: None`: on one line.
pub(crate) fn json(value: &Value, order: Option<&Node>, indent: Option<&str>) -> String {
    let mut out = String::new();
    write_json(&mut out, value, order, indent, 0);
    out
}

fn write_json(out: &mut String, value: &Value, order: Option<&Node>, indent: Option<&str>, depth: usize) {
    let line = |out: &mut String, depth: usize| {
        if let Some(indent) = indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (n, (key, value, order)) in ordered(map, order).into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                line(out, depth + 1);
                let _ = write!(out, "{}:{}", Value::String(key.clone()), if indent.is_some() { " " } else { "" });
                write_json(out, value, order, indent, depth + 1);
            }
            line(out, depth);
            out.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            let partners = partners(items, order);
            out.push('[');
            for (n, (item, order)) in items.iter().zip(partners).enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                line(out, depth + 1);
                write_json(out, item, order, indent, depth + 1);
            }
            line(out, depth);
            out.push(']');
        }
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// The entries in the document's order, new ones last.
fn ordered<'v, 'n>(
    map: &'v Map<String, Value>,
    order: Option<&'n Node>,
) -> Vec<(&'v String, &'v Value, Option<&'n Node>)> {
    let known = order.map(Node::content).map_or(&[][..], |node| match &node.kind {
        Kind::Mapping { entries, .. } => entries,
        _ => &[],
    });
    let mut done = HashSet::new();
    let mut result = Vec::with_capacity(map.len());
    for (key, node) in known {
        let Ok(key) = key.key(Schema::Kubernetes) else { continue };
        if let Some((key, value)) = map.get_key_value(&key)
            && done.insert(key)
        {
            result.push((key, value, Some(&**node)));
        }
    }
    let mut new: Vec<_> = map.iter().filter(|(key, _)| !done.contains(*key)).collect();
    // As people write them.
    new.sort_by_key(|(key, _)| !matches!(key.as_str(), "name" | "soft"));
    result.extend(new.into_iter().map(|(key, value)| (key, value, None)));
    result
}

/// For each item the node whose order it takes: the one of the same name, else of the same place.
fn partners<'n>(items: &[Value], order: Option<&'n Node>) -> Vec<Option<&'n Node>> {
    let Some(Kind::Sequence { items: known, .. }) = order.map(|node| &node.content().kind) else {
        return vec![None; items.len()];
    };
    let name_of = |node: &Node| node.get("name").and_then(|name| name.key(Schema::Kubernetes).ok());
    let by_name: std::collections::HashMap<String, &Node> =
        known.iter().rev().filter_map(|node| name_of(node).map(|name| (name, &**node))).collect();
    let partner = |(n, item): (usize, &Value)| match item.get("name").and_then(Value::as_str) {
        Some(name) => by_name.get(name).copied(),
        None => known.get(n).map(|node| &**node),
    };
    items.iter().enumerate().map(partner).collect()
}

struct Writer {
    out: String,
    style: Style,
}

impl Writer {
    fn indent(&mut self, column: usize) {
        (0..column).for_each(|_| self.out.push(' '));
    }

    fn mapping(&mut self, map: &Map<String, Value>, order: Option<&Node>, column: usize) {
        for (n, (key, value, order)) in ordered(map, order).into_iter().enumerate() {
            if n > 0 {
                self.indent(column);
            }
            self.entry(key, value, order, column);
        }
    }

    fn sequence(&mut self, items: &[Value], order: Option<&Node>, column: usize) {
        let partners = partners(items, order);
        for (n, (item, order)) in items.iter().zip(partners).enumerate() {
            if n > 0 {
                self.indent(column);
            }
            self.item(item, order, column);
        }
    }

    fn entry(&mut self, key: &str, value: &Value, order: Option<&Node>, column: usize) {
        self.out.push_str(&one_line(key, false));
        self.out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.out.push('\n');
                self.indent(column + self.style.step);
                self.mapping(map, order, column + self.style.step);
            }
            Value::Array(items) if !items.is_empty() => {
                self.out.push('\n');
                self.indent(column + self.style.dash);
                self.sequence(items, order, column + self.style.dash);
            }
            other => {
                self.out.push(' ');
                self.inline(other, column + self.style.step);
            }
        }
    }

    fn item(&mut self, value: &Value, order: Option<&Node>, column: usize) {
        self.out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => self.mapping(map, order, column + 2),
            Value::Array(items) if !items.is_empty() => self.sequence(items, order, column + 2),
            other => self.inline(other, column + 2),
        }
    }

    /// A scalar or an empty collection, with the line break; `column`: where lines of a text block begin.
    fn inline(&mut self, value: &Value, column: usize) {
        match value {
            Value::String(text) if may_be_literal(text) => self.literal(text, column.max(1)),
            Value::String(text) => {
                self.out.push_str(&one_line(text, false));
                self.out.push('\n');
            }
            other => {
                self.out.push_str(&flow(other));
                self.out.push('\n');
            }
        }
    }

    fn literal(&mut self, text: &str, column: usize) {
        let chomp = if text.ends_with('\n') { "|" } else { "|-" };
        self.out.push_str(chomp);
        self.out.push('\n');
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if !line.is_empty() {
                self.indent(column);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }
}

/// Several lines of ordinary text; what a block cannot hold without tricks is quoted instead.
fn may_be_literal(text: &str) -> bool {
    let ordinary = |c: char| c == '\n' || !c.is_control() && !is_special(c);
    let tricky = |line: &str| line.trim_end() != line || line.starts_with('\t');
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\n', '\t'])
        // Kept by "|+", which would also keep what is added or removed behind it.
        && !body.ends_with('\n')
        && text.chars().all(ordinary)
        && !body.lines().any(tricky)
}

/// Line separators of YAML 1.1, and what may not stand in a YAML text.
fn is_special(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Without quotes where that is safe, else in those that need fewer escapes.
fn one_line(text: &str, flow: bool) -> String {
    if scalar::may_be_plain(text, flow) {
        return text.to_owned();
    }
    let quotable = |c: char| !c.is_control() && !is_special(c);
    if text.contains(['"', '\\']) && text.chars().all(quotable) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || is_special(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
