//! JSON manifests: several objects in a row, as kubectl takes them, with their order of keys.

use std::{fmt, rc::Rc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    documents::{Document, Form, Unreadable},
    node::{Kind, Node, Scalar, number},
};

/// Reads the objects one after the other.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, Unreadable> {
    let body = text.trim_start_matches('\u{feff}');
    let mark = text.len() - body.len();
    let mut stream = serde_json::Deserializer::from_str(body).into_iter::<Ordered>();
    let mut documents: Vec<Document> = Vec::new();
    let mut begin = 0;
    let mut first_line = 1;
    while let Some(next) = stream.next() {
        let number = documents.len() + 1;
        let Ordered(mut node) = next.map_err(|error| Unreadable {
            number,
            line: error.line().max(first_line),
            sentence: format!("the text is not JSON ({error}); correct it and try again"),
        })?;
        let end = mark + stream.byte_offset();
        let part = text.get(begin..end).unwrap_or_default();
        let blank = part.len() - part.trim_start_matches('\u{feff}').trim_start().len();
        let lines_before = part.get(..blank).unwrap_or_default().matches('\n').count();
        place(&mut node, first_line + lines_before);
        (node.start, node.end) = (blank, part.len());
        documents.push(Document { text: part.to_owned(), node: Some(node), number, first_line, form: Form::Json });
        first_line += part.matches('\n').count();
        begin = end;
    }
    if let (Some(last), Some(rest)) = (documents.last_mut(), text.get(begin..)) {
        last.text.push_str(rest);
    }
    Ok(documents)
}

/// serde tells no places: every node of an object stands where the object begins.
fn place(node: &mut Node, line: usize) {
    node.line = line;
    match &mut node.kind {
        Kind::Sequence { items, .. } => {
            items.iter_mut().filter_map(Rc::get_mut).for_each(|item| place(item, line));
        }
        Kind::Mapping { entries, .. } => {
            for (key, value) in entries {
                key.line = line;
                if let Some(value) = Rc::get_mut(value) {
                    place(value, line);
                }
            }
        }
        _ => {}
    }
}

struct Ordered(Node);

fn bare(kind: Kind) -> Node {
    Node { kind, start: 0, end: 0, line: 1 }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl Reader {
    fn known(value: Value) -> Node {
        bare(Kind::Scalar(Scalar::Known(value)))
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Self::known(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Self::known(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Self::known(Value::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Self::known(Value::Number(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Self::known(number(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(bare(Kind::Scalar(Scalar::Text(value.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(Ordered(item)) = access.next_element()? {
            items.push(Rc::new(item));
        }
        Ok(bare(Kind::Sequence { items, flow: true }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, Ordered(value))) = access.next_entry::<String, Ordered>()? {
            entries.push((bare(Kind::Scalar(Scalar::Text(key))), Rc::new(value)));
        }
        Ok(bare(Kind::Mapping { entries, flow: true }))
    }
}

/// How a JSON text is laid out: the indentation of its second line, or all on one line.
pub(crate) fn indentation(text: &str) -> Option<String> {
    let (_, rest) = text.trim_start().split_once('\n')?;
    let indent: String = rest.chars().take_while(|c| *c == ' ' || *c == '\t').collect();
    if indent.is_empty() { None } else { Some(indent) }
}
