//! A changed value written into the text of its document, so that comments, order and quoting of the rest stay.
//!
//! The edits need not be right in every corner of YAML: whoever calls reads the result back and compares.

use serde_json::{Map, Value};

use super::{
    node::{Kind, Node},
    render::{self, Style, column},
    scalar::Schema,
};

/// The text with `node` changed to `new`, and whether a comment went with a part that was written anew.
/// `None`: the change cannot be written as edits.
pub(super) fn edited(text: &str, node: &Node, new: &Value, schema: Schema) -> Option<(String, bool)> {
    let mut editor = Editor { text, schema, style: Style::of(node, text), edits: Vec::new(), last_break_goes: false };
    editor.node(node, new)?;
    let rewritten = editor.edits.iter().filter(|edit| !edit.text.is_empty());
    let lost = rewritten.filter_map(|edit| text.get(edit.start..edit.end)).any(may_hold_comment);
    editor.apply().map(|text| (text, lost))
}

/// A `#` behind a space begins a comment, unless it stands in quotes, which is not looked at.
pub(super) fn may_hold_comment(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with('#') || line.contains(" #") || line.contains("\t#"))
}

struct Edit {
    start: usize,
    end: usize,
    text: String,
}

struct Editor<'t> {
    text: &'t str,
    schema: Schema,
    style: Style,
    edits: Vec<Edit>,
    /// The text has no last line break, and its last line was taken out.
    last_break_goes: bool,
}

impl Editor<'_> {
    fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|edit| (edit.start, edit.end));
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for edit in &self.edits {
            out.push_str(self.text.get(at..edit.start)?);
            out.push_str(&edit.text);
            at = edit.end;
        }
        out.push_str(self.text.get(at..)?);
        if self.last_break_goes && out.ends_with('\n') {
            out.pop();
            out.truncate(out.strip_suffix('\r').map_or(out.len(), str::len));
        }
        Some(out)
    }

    fn replace(&mut self, start: usize, end: usize, text: String) {
        self.edits.push(Edit { start, end, text });
    }

    /// `Some(())`: handled inside the node. `None`: whoever holds the node must write it anew.
    fn node(&mut self, node: &Node, new: &Value) -> Option<()> {
        if node.value(self.schema).ok()? == *new {
            return Some(());
        }
        match (&node.kind, new) {
            (Kind::Mapping { entries, flow }, Value::Object(map)) if !entries.is_empty() && !map.is_empty() => {
                let before = self.edits.len();
                let done = if *flow { self.flow_mapping(node, entries, map) } else { self.mapping(node, entries, map) };
                if done.is_none() {
                    self.edits.truncate(before);
                }
                done
            }
            (Kind::Sequence { items, flow }, Value::Array(new)) if !items.is_empty() && !new.is_empty() => {
                let before = self.edits.len();
                let done = if *flow { self.flow_sequence(node, items, new) } else { self.sequence(node, items, new) };
                if done.is_none() {
                    self.edits.truncate(before);
                }
                done
            }
            _ => None,
        }
    }

    fn mapping(&mut self, node: &Node, entries: &Entries, new: &Map<String, Value>) -> Option<()> {
        let at = column(self.text, node.start);
        let old = node.value(self.schema).ok()?;
        let mut last_kept = None;
        for (n, (key, value)) in entries.iter().enumerate() {
            if key.is_merge_key() {
                last_kept = Some(value.end);
                continue;
            }
            let name = key.key(self.schema).ok()?;
            let Some(wanted) = new.get(&name) else {
                let next = entries.get(n + 1).map(|(next, _)| next.start);
                self.remove_lines(key.start, value.end.max(key.end), next)?;
                continue;
            };
            if self.node(value, wanted).is_none() {
                let entry = render::entry(&name, wanted, Some(value), at, self.style);
                self.replace(key.start, value.end.max(key.end), trimmed(&entry));
            }
            last_kept = Some(value.end.max(key.end));
        }
        // Also what came by a merge and is to be otherwise: an entry of its own wins.
        let explicit: Vec<String> = entries.iter().filter_map(|(key, _)| key.key(self.schema).ok()).collect();
        let added =
            new.iter().filter(|(name, value)| !explicit.contains(name) && old.get(name.as_str()) != Some(value));
        let mut lines = String::new();
        for (name, value) in added {
            lines.push('\n');
            lines.push_str(&" ".repeat(at));
            lines.push_str(&trimmed(&render::entry(name, value, None, at, self.style)));
        }
        if !lines.is_empty() {
            let end = self.line_end(self.content_end(last_kept?));
            self.replace(end, end, lines);
        }
        Some(())
    }

    fn sequence(&mut self, node: &Node, items: &Items, new: &[Value]) -> Option<()> {
        let at = column(self.text, node.start);
        let dashes = self.dashes(node.start, at, items.len())?;
        let mut insert_before: Vec<&Value> = Vec::new();
        let mut last_kept = None;
        let mut waiting = new.iter();
        for ((n, item), pair) in items.iter().enumerate().zip(self.align(items, new)?) {
            let dash = *dashes.get(n)?;
            let Some(target) = pair else {
                self.remove_lines(dash, item_end(item, dash), dashes.get(n + 1).copied())?;
                continue;
            };
            for value in waiting.by_ref() {
                if std::ptr::eq(value, target) {
                    break;
                }
                insert_before.push(value);
            }
            for value in insert_before.drain(..) {
                let lines = format!("{}\n{}", trimmed(&render::item(value, None, at, self.style)), " ".repeat(at));
                self.replace(dash, dash, lines);
            }
            if self.node(item, target).is_none() {
                self.replace(dash, item_end(item, dash), trimmed(&render::item(target, Some(item), at, self.style)));
            }
            last_kept = Some(item_end(item, dash));
        }
        for value in waiting {
            let lines = format!("\n{}{}", " ".repeat(at), trimmed(&render::item(value, None, at, self.style)));
            let end = self.line_end(self.content_end(last_kept?));
            self.replace(end, end, lines);
        }
        Some(())
    }

    fn flow_mapping(&mut self, node: &Node, entries: &Entries, new: &Map<String, Value>) -> Option<()> {
        let old = node.value(self.schema).ok()?;
        let mut kept_end = None;
        // The end of the entry before, whether it stays or not.
        let mut before = None;
        for (n, (key, value)) in entries.iter().enumerate() {
            if key.is_merge_key() {
                kept_end = Some(value.end);
                before = kept_end;
                continue;
            }
            let name = key.key(self.schema).ok()?;
            let Some(wanted) = new.get(&name) else {
                let behind = kept_end.and(before);
                self.remove_in_flow(key.start, value.end.max(key.end), behind, entries.get(n + 1).map(|e| e.0.start));
                before = Some(value.end.max(key.end));
                continue;
            };
            if self.node(value, wanted).is_none() {
                self.replace(key.start, value.end.max(key.end), render::flow_entry(&name, wanted));
            }
            kept_end = Some(value.end.max(key.end));
            before = kept_end;
        }
        let explicit: Vec<String> = entries.iter().filter_map(|(key, _)| key.key(self.schema).ok()).collect();
        let added =
            new.iter().filter(|(name, value)| !explicit.contains(name) && old.get(name.as_str()) != Some(value));
        for (name, value) in added {
            self.replace(kept_end?, kept_end?, format!(", {}", render::flow_entry(name, value)));
        }
        Some(())
    }

    fn flow_sequence(&mut self, _: &Node, items: &Items, new: &[Value]) -> Option<()> {
        let mut kept_end = None;
        let mut previous = None;
        let mut waiting = new.iter();
        for ((n, item), pair) in items.iter().enumerate().zip(self.align(items, new)?) {
            let Some(target) = pair else {
                let behind = kept_end.and(previous);
                self.remove_in_flow(item.start, item.end, behind, items.get(n + 1).map(|next| next.start));
                previous = Some(item.end);
                continue;
            };
            let mut before = String::new();
            for value in waiting.by_ref() {
                if std::ptr::eq(value, target) {
                    break;
                }
                before.push_str(&render::flow(value));
                before.push_str(", ");
            }
            if !before.is_empty() {
                self.replace(item.start, item.start, before);
            }
            if self.node(item, target).is_none() {
                self.replace(item.start, item.end, render::flow(target));
            }
            kept_end = Some(item.end);
            previous = kept_end;
        }
        for value in waiting {
            self.replace(kept_end?, kept_end?, format!(", {}", render::flow(value)));
        }
        Some(())
    }

    /// For each old item the new one that it becomes, in order; `None`: it goes. At least one must stay.
    fn align<'v>(&self, items: &Items, new: &'v [Value]) -> Option<Vec<Option<&'v Value>>> {
        let old: Vec<Value> = items.iter().map(|item| item.value(self.schema)).collect::<Result<_, _>>().ok()?;
        let same = |a: &Value, b: &Value| match (a.get("name"), b.get("name")) {
            (Some(a), Some(b)) => a == b,
            _ => a == b,
        };
        let front = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
        let rest = old.len().min(new.len()) - front;
        let back = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| same(a, b)).count();
        let middle = new.get(front..new.len() - back)?;
        let mut pairs: Vec<Option<&Value>> = new.iter().take(front).map(Some).collect();
        let mut from = 0;
        for (n, item) in old.iter().enumerate().take(old.len() - back).skip(front) {
            // Lists of one length whose items have no names: by place, which is also quick where thousands change.
            let by_place = (old.len() == new.len() && item.get("name").is_none()).then_some(n - front);
            let search = || middle.iter().skip(from).position(|value| same(item, value)).map(|offset| from + offset);
            let chosen = by_place.filter(|place| *place >= from).or_else(search);
            pairs.push(chosen.and_then(|place| middle.get(place)));
            from = chosen.map_or(from, |place| place + 1);
        }
        pairs.extend(new.get(new.len() - back..)?.iter().map(Some));
        pairs.iter().any(Option::is_some).then_some(pairs)
    }

    /// Where the dashes of a block list stand: alone before them only spaces, in one column.
    fn dashes(&self, start: usize, column: usize, count: usize) -> Option<Vec<usize>> {
        let mut found = vec![start];
        let mut line_start = self.next_line(start);
        while found.len() < count {
            let line = self.text.get(line_start?..)?;
            let indent = line.len() - line.trim_start_matches(' ').len();
            let rest = line.get(indent..)?;
            let dash = rest.strip_prefix('-').is_some_and(|after| after.starts_with([' ', '\t', '\r', '\n']));
            if indent == column && dash {
                found.push(line_start? + indent);
            }
            line_start = self.next_line(line_start?);
        }
        Some(found)
    }

    /// Takes an entry or item out of a block; `next`: where its next sibling begins.
    fn remove_lines(&mut self, start: usize, end: usize, next: Option<usize>) -> Option<()> {
        let own_line = start - column(self.text, start);
        let alone_before = self.text.get(own_line..start)?.trim().is_empty();
        if !alone_before {
            // The first of a block that stands behind a dash: the next one moves up.
            self.replace(start, next?, String::new());
            return Some(());
        }
        let end = self.content_end(end);
        if let Some(after) = self.next_line(end) {
            self.replace(own_line, after, String::new());
        } else {
            // The last line of a text without a final line break.
            self.replace(own_line, self.text.len(), String::new());
            self.last_break_goes = true;
        }
        Some(())
    }

    /// `behind`: the end of the entry before, if any before stays.
    fn remove_in_flow(&mut self, start: usize, end: usize, behind: Option<usize>, next: Option<usize>) {
        match (behind, next) {
            (Some(behind), _) => self.replace(behind, end, String::new()),
            (None, Some(next)) => self.replace(start, next, String::new()),
            (None, None) => self.replace(start, end, String::new()),
        }
    }

    /// Without the line breaks that the parser counts to a text block.
    fn content_end(&self, end: usize) -> usize {
        self.text.get(..end).map_or(end, |text| text.trim_end().len())
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.trim_end_matches('\r').len()
    }

    fn next_line(&self, at: usize) -> Option<usize> {
        self.text.get(at..)?.find('\n').map(|offset| at + offset + 1)
    }
}

type Entries = [(Node, std::rc::Rc<Node>)];
type Items = [std::rc::Rc<Node>];

/// An item that is nothing but its dash stands wherever the parser's next token does.
fn item_end(item: &Node, dash: usize) -> usize {
    if item.start == item.end { dash + 1 } else { item.end }
}

fn trimmed(lines: &str) -> String {
    lines.strip_suffix('\n').unwrap_or(lines).to_owned()
}
