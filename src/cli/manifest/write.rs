//! A document whose value changed → its new text.

use serde_json::Value;

use super::{
    documents::{self, Document, Form},
    edit,
    json::indentation,
    node::{Kind, Node},
    render::{self, Style},
    scalar::Schema,
};

/// The new text, and whether comments of the document were lost on the way.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) text: String,
    pub(crate) lost: bool,
}

/// Writes `new` into the document, by edits where they read back as `new`, else anew. `None`: neither reads back.
pub(crate) fn changed(document: &Document, node: &Node, new: &Value, schema: Schema) -> Option<Written> {
    let ends_alike = |text: &str| documents::is_ended(text) == documents::is_ended(&document.text);
    let good = |written: &Written| reads_back(&written.text, new, schema) && ends_alike(&written.text);
    if document.form == Form::Json {
        return Some(Written { text: json_again(document, node, new), lost: false }).filter(good);
    }
    let edited = edit::edited(&document.text, node, new, schema)
        .map(|(text, lost)| Written { text: with_line_breaks_of(&document.text, &text), lost });
    edited.filter(good).or_else(|| {
        let lost = document.text.get(node.start..node.end).is_some_and(edit::may_hold_comment);
        Some(Written { text: again(document, node, new), lost }).filter(good)
    })
}

/// The whole document in another form. `None`: it does not read back as what it was.
pub(crate) fn converted(document: &Document, value: &Value, form: Form, schema: Schema) -> Option<Written> {
    let order = document.node.as_ref();
    let text = match form {
        Form::Yaml => render::document(value, order, Style::default()),
        Form::Json => format!("{}\n", render::json(value, order, Some("    "))),
    };
    Some(Written { text, lost: false }).filter(|written| reads_back(&written.text, value, schema))
}

fn reads_back(text: &str, new: &Value, schema: Schema) -> bool {
    let Ok(documents) = documents::read(text) else { return false };
    let mut nodes = documents.iter().filter_map(|document| document.node.as_ref());
    let (Some(node), None) = (nodes.next(), nodes.next()) else { return false };
    node.value(schema).is_ok_and(|value| value == *new)
}

fn json_again(document: &Document, node: &Node, new: &Value) -> String {
    let text = &document.text;
    let body = text.get(node.start..node.end).unwrap_or_default();
    let written = render::json(new, Some(node), indentation(body).as_deref());
    let before = text.get(..node.start).unwrap_or_default();
    let after = text.get(node.end..).unwrap_or_default();
    format!("{before}{}{after}", with_line_breaks_of(body, &written))
}

/// What stands before and behind the node stays; the node is written anew.
fn again(document: &Document, node: &Node, new: &Value) -> String {
    let text = &document.text;
    let before = text.get(..node.start).unwrap_or_default();
    let after = text.get(node.end..).unwrap_or_default();
    // An anchor, a tag or an indentation may stand before the node on its line: that line goes with it.
    let line = before.rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
    let collection = matches!(node.kind, Kind::Mapping { .. } | Kind::Sequence { .. });
    let head = before.get(..line).filter(|_| collection).unwrap_or_default();
    let marker = before.get(line..).filter(|own| own.starts_with("---")).map_or("", |_| "---\n");
    let tail = documents::lines(after).next().and_then(|rest| after.get(rest.len()..)).unwrap_or_default();
    let tail = if collection { tail } else { "" };
    let style = Style::of(node, text);
    let written = format!("{head}{marker}{}{tail}", render::document(new, Some(node), style));
    with_line_breaks_of(text, &written)
}

/// The edits come with `\n`; a text that has `\r\n` on its first line keeps to it.
fn with_line_breaks_of(model: &str, text: &str) -> String {
    let first = model.split_inclusive('\n').next().unwrap_or_default();
    if !first.ends_with("\r\n") {
        return text.to_owned();
    }
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
