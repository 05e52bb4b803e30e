//! One parsed document, with what a `Value` forgets: order, lines and where each node stands in the text.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::scalar::{self, Schema};

/// Aliases are followed by copying. More bytes than this so added are a bomb and no manifest: the API server takes objects
/// of 3 MiB.
const MOST_COPIED: usize = 8 << 20;
/// What a node counts besides its text.
const NODE_BYTES: usize = 64;
/// Collections inside each other, as many as JSON's reader takes: what goes deeper ends in nobody's API server, and every
/// walk through a document is a recursion.
pub(super) const MOST_DEEP: usize = 127;

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
    #[error("the aliases expand to more than {} MiB, which no object may have; write out the values that are needed", MOST_COPIED >> 20)]
    TooMuchCopied,
    #[error("lists and mappings stand more than {MOST_DEEP} deep inside each other; take them apart")]
    TooDeep,
}

/// A [`Fault`] and the line in the file.
pub(crate) type Faulty = (usize, Fault);

impl Node {
    /// The value as Kubernetes' own reader would have it.
    pub(crate) fn value(&self, schema: Schema) -> Result<Value, Faulty> {
        Reader { schema, left: MOST_COPIED, copying: 0, depth: 0 }.value(self)
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
    /// Bytes that aliases may still add.
    left: usize,
    /// Aliases that this node is reached through.
    copying: usize,
    /// Collections that this node stands in.
    depth: usize,
}

impl Reader {
    fn value(&mut self, node: &Node) -> Result<Value, Faulty> {
        match &node.kind {
            Kind::Alias(target) => {
                self.copying += 1;
                let value = self.value(target);
                self.copying -= 1;
                value
            }
            Kind::Scalar(scalar) => {
                self.count(node, scalar)?;
                typed(scalar, self.schema).map_err(|fault| (node.line, fault))
            }
            Kind::Sequence { items, .. } => self.inside(node, |reader| {
                items.iter().map(|item| reader.value(item)).collect::<Result<_, _>>().map(Value::Array)
            }),
            Kind::Mapping { entries, .. } => self.inside(node, |reader| reader.mapping(entries).map(Value::Object)),
        }
    }

    fn inside(&mut self, node: &Node, read: impl FnOnce(&mut Self) -> Result<Value, Faulty>) -> Result<Value, Faulty> {
        self.copied(node, 0)?;
        if self.depth == MOST_DEEP {
            return Err((node.line, Fault::TooDeep));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn count(&mut self, node: &Node, scalar: &Scalar) -> Result<(), Faulty> {
        let text = match scalar {
            Scalar::Plain(text) | Scalar::Text(text) => text.len(),
            Scalar::Known(_) => 0,
        };
        self.copied(node, text)
    }

    /// What stands in the file itself is bounded by the file.
    fn copied(&mut self, node: &Node, text: usize) -> Result<(), Faulty> {
        if self.copying > 0 {
            self.left = self.left.checked_sub(NODE_BYTES + text).ok_or((node.line, Fault::TooMuchCopied))?;
        }
        Ok(())
    }

    fn key(&mut self, key: &Node) -> Result<String, Faulty> {
        let is_alias = matches!(key.kind, Kind::Alias(_));
        self.copying += usize::from(is_alias);
        if let Kind::Scalar(scalar) = &key.content().kind {
            self.count(key, scalar)?;
        }
        self.copying -= usize::from(is_alias);
        key.key(self.schema)
    }

    fn mapping(&mut self, entries: &[(Node, Rc<Node>)]) -> Result<Map<String, Value>, Faulty> {
        let mut map = Map::new();
        for (key, value) in entries.iter().filter(|(key, _)| !key.is_merge_key()) {
            let name = self.key(key)?;
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
