//! One parsed document, with what a `Value` forgets: order, lines and where each node stands in the text.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::scalar::{self, Schema};

/// Aliases are followed by copying; more nodes than this are a bomb and no manifest.
const MOST_NODES: usize = 2_000_000;

/// A node of a document.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// First byte of the content (after anchor and tag), in the document's text.
    pub(crate) start: usize,
    /// First byte behind the content; for a block collection that of its last child.
    pub(crate) end: usize,
    /// Counted from 1 in the file.
    pub(crate) line: usize,
}

/// What the node is.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Sequence { items: Vec<Rc<Node>>, flow: bool },
    Mapping { entries: Vec<(Node, Rc<Node>)>, flow: bool },
    Alias(Rc<Node>),
}

/// A scalar, still as text.
#[derive(Debug, Clone)]
pub(crate) enum Scalar {
    /// Without quotes: its type depends on how it looks.
    Plain(String),
    /// In quotes, in a block, or tagged `!!str`.
    Text(String),
    /// Its type is known: from JSON, or by a tag.
    Known(Value),
}

/// Why a document that could be parsed is no Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the key {key:?} stands twice in one mapping, and readers differ in which one counts; remove one")]
    DuplicateKey { key: String },
    #[error(
        "a mapping or list is used as a key, which no Kubernetes object has; quote the text, or render the template first"
    )]
    KeyIsCollection,
    #[error("a null is used as a key, which no Kubernetes object has; quote it")]
    KeyIsNull,
    #[error(
        "the number {text} has no form in JSON, in which Kubernetes keeps objects; quote it or write a finite number"
    )]
    NotFinite { text: String },
    #[error("the merge key << does not name a mapping or a list of mappings; name an anchored mapping")]
    BadMerge,
    #[error("the aliases expand to more than {MOST_NODES} nodes; write the values out")]
    TooManyNodes,
}

/// A [`Fault`] and the line in the file.
pub(crate) type Faulty = (usize, Fault);

impl Node {
    /// The value as Kubernetes' own reader would have it.
    pub(crate) fn value(&self, schema: Schema) -> Result<Value, Faulty> {
        Reader { schema, left: MOST_NODES }.value(self)
    }

    /// Behind aliases.
    pub(crate) fn content(&self) -> &Self {
        match &self.kind {
            Kind::Alias(target) => target.content(),
            _ => self,
        }
    }

    /// The entry of that name; merged ones are not looked at.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Mapping { entries, .. } = &self.content().kind else { return None };
        entries.iter().find(|(name, _)| name.key(Schema::Kubernetes).is_ok_and(|k| k == key)).map(|(_, v)| &**v)
    }

    /// The item at that place.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        let Kind::Sequence { items, .. } = &self.content().kind else { return None };
        items.get(index).map(|item| &**item)
    }

    /// The line of what a JSON pointer names, or of the deepest ancestor in the text.
    pub(crate) fn line_of(&self, pointer: &str) -> usize {
        let mut node = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            let next = node.get(&token).or_else(|| token.parse().ok().and_then(|n| node.item(n)));
            let Some(next) = next else { break };
            node = next;
        }
        node.line
    }

    /// A mapping key as text. Kubernetes' reader turns `1` and `yes` into `"1"` and `"true"`.
    pub(crate) fn key(&self, schema: Schema) -> Result<String, Faulty> {
        let fault = |fault| (self.line, fault);
        match &self.content().kind {
            Kind::Scalar(Scalar::Text(text)) => Ok(text.clone()),
            Kind::Scalar(scalar) => match typed(scalar, schema).map_err(fault)? {
                Value::String(text) => Ok(text),
                Value::Null => Err(fault(Fault::KeyIsNull)),
                other => Ok(other.to_string()),
            },
            _ => Err(fault(Fault::KeyIsCollection)),
        }
    }

    /// `<<` without quotes.
    pub(crate) fn is_merge_key(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(Scalar::Plain(text)) if text == "<<")
    }
}

fn typed(scalar: &Scalar, schema: Schema) -> Result<Value, Fault> {
    match scalar {
        Scalar::Text(text) => Ok(Value::String(text.clone())),
        Scalar::Known(value) => Ok(value.clone()),
        Scalar::Plain(text) => match scalar::resolve(text, schema) {
            scalar::Plain::Text => Ok(Value::String(text.clone())),
            scalar::Plain::Value(value) => Ok(value),
            scalar::Plain::NotFinite => Err(Fault::NotFinite { text: text.clone() }),
        },
    }
}

struct Reader {
    schema: Schema,
    left: usize,
}

impl Reader {
    fn value(&mut self, node: &Node) -> Result<Value, Faulty> {
        self.left = self.left.checked_sub(1).ok_or((node.line, Fault::TooManyNodes))?;
        match &node.kind {
            Kind::Alias(target) => self.value(target),
            Kind::Scalar(scalar) => typed(scalar, self.schema).map_err(|fault| (node.line, fault)),
            Kind::Sequence { items, .. } => {
                items.iter().map(|item| self.value(item)).collect::<Result<_, _>>().map(Value::Array)
            }
            Kind::Mapping { entries, .. } => self.mapping(entries).map(Value::Object),
        }
    }

    fn mapping(&mut self, entries: &[(Node, Rc<Node>)]) -> Result<Map<String, Value>, Faulty> {
        let mut map = Map::new();
        for (key, value) in entries.iter().filter(|(key, _)| !key.is_merge_key()) {
            let name = key.key(self.schema)?;
            if map.contains_key(&name) {
                return Err((key.line, Fault::DuplicateKey { key: name }));
            }
            let value = self.value(value)?;
            map.insert(name, value);
        }
        // What the mapping says itself wins over what it merges, wherever `<<` stands.
        for (key, source) in entries.iter().filter(|(key, _)| key.is_merge_key()) {
            let sources: Vec<&Node> = match &source.content().kind {
                Kind::Sequence { items, .. } => items.iter().map(|item| &**item).collect(),
                _ => vec![source],
            };
            for source in sources {
                let Value::Object(merged) = self.value(source)? else { return Err((key.line, Fault::BadMerge)) };
                for (name, value) in merged {
                    map.entry(name).or_insert(value);
                }
            }
        }
        Ok(map)
    }
}

/// Integral floats become integers, as they do on the way into the API server: Go writes `1e3` as `1000`.
pub(super) fn number(value: f64) -> Option<Number> {
    // Go's encoding/json leaves the plain form from 1e21 on; beyond 2^63 no Kubernetes field counts.
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    if value.fract() == 0.0 && value.abs() < 9.0e18 {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}
