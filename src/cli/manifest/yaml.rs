//! The text of one YAML document → [`Node`], by the event parser inside serde-saphyr.
//!
//! Its typed reader would lose comments, order and places, and types scalars otherwise than Kubernetes does.

use std::{collections::HashMap, rc::Rc};

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag, options};

use super::{
    node::{Fault, Kind, MOST_DEEP, Node, Scalar},
    scalar::{self, Plain, Schema},
};

/// Why the text is no document: a sentence without its place.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the text is not YAML ({0}); correct it and try again")]
    Syntax(String),
    #[error("the alias stands inside what it repeats, which has no end; write the value out")]
    Endless,
    #[error("{}", Fault::TooDeep)]
    TooDeep,
    #[error("the tag {0} is not one that a Kubernetes object can have; remove it")]
    Tag(String),
    #[error("{value:?} is not what its tag {tag} says; correct one of them")]
    Mistagged { value: String, tag: String },
}

/// Reads one document. `None`: it holds no node. Lines are counted from `first_line`.
pub(super) fn parse(text: &str, first_line: usize) -> Result<Option<Node>, (usize, Error)> {
    let options: Options = options! { emit_comments: false };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { text, parser, first_line, anchors: HashMap::new(), depth: 0 };
    loop {
        match builder.next()? {
            None | Some((Event::StreamEnd | Event::DocumentEnd, _)) => return Ok(None),
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((event, span)) => {
                let node = builder.node(event, span, None)?;
                builder.finish()?;
                let nothing = matches!(&node.kind, Kind::Scalar(Scalar::Plain(text)) if text.is_empty());
                return Ok((!nothing).then(|| Rc::unwrap_or_clone(node)));
            }
        }
    }
}

struct Builder<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    first_line: usize,
    /// `None` while the anchored node is still being read.
    anchors: HashMap<usize, Option<Rc<Node>>>,
    /// Collections that are open.
    depth: usize,
}

type Step<T> = Result<T, (usize, Error)>;

impl<'t> Builder<'t> {
    fn next(&mut self) -> Step<Option<(Event<'t>, Span)>> {
        self.parser.next_event().transpose().map_err(|error| {
            let line = self.first_line + error.marker().line().saturating_sub(1);
            (line, Error::Syntax(error.info()))
        })
    }

    /// What follows the node is read to its end, so that neither an error there nor another document is overlooked.
    fn finish(&mut self) -> Step<()> {
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::DocumentStart(..)) {
                let line = self.first_line + span.start.line().saturating_sub(1);
                return Err((line, Error::Syntax("a second document begins without a line --- before it".to_owned())));
            }
        }
        Ok(())
    }

    fn inside(&mut self) -> Step<(Event<'t>, Span)> {
        let cut = (self.first_line, Error::Syntax("it ends too early".to_owned()));
        self.next()?.ok_or(cut)
    }

    /// `key_end`: where the key ends whose value it is.
    fn node(&mut self, event: Event<'t>, span: Span, key_end: Option<usize>) -> Step<Rc<Node>> {
        let line = self.first_line + span.start.line().saturating_sub(1);
        let range = span.byte_range().unwrap_or_default();
        let mut node =
            Node { kind: Kind::Scalar(Scalar::Text(String::new())), start: range.start, end: range.end, line };
        if matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            if self.depth == MOST_DEEP {
                return Err((line, Error::TooDeep));
            }
            self.depth += 1;
        }
        let anchor = event.anchor_id().filter(|id| *id != 0);
        if let Some(id) = anchor {
            self.anchors.insert(id, None);
        }
        match event {
            Event::Alias(id) => {
                let target = self.anchors.get(&id).cloned().flatten();
                node.kind = Kind::Alias(target.ok_or((line, Error::Endless))?);
            }
            Event::Scalar(text, style, _, tag) => {
                // A node that is not there is a plain "~" without any text.
                let text =
                    if range.is_empty() && style == ScalarStyle::Plain { String::new() } else { text.into_owned() };
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let text =
                    if block && range.end == self.text.len() { without_break_at_end(text, self.text) } else { text };
                node.kind = Kind::Scalar(tagged(text, style, tag.as_deref()).map_err(|error| (line, error))?);
            }
            Event::SequenceStart(style, _, tag) => {
                collection_tag(tag.as_deref(), "seq").map_err(|error| (line, error))?;
                let mut items = Vec::new();
                let end = loop {
                    match self.inside()? {
                        (Event::SequenceEnd, span) => break span,
                        (event, span) => items.push(self.node(event, span, None)?),
                    }
                };
                let flow = style == StructureStyle::Flow;
                if let (false, Some(key_end)) = (flow, key_end) {
                    node.start = first_dash(self.text, key_end).unwrap_or(node.start);
                }
                node.end = extent(flow, &end, items.last().map(|item| item.end), range.end);
                node.kind = Kind::Sequence { items, flow };
                self.depth -= 1;
            }
            Event::MappingStart(style, _, tag) => {
                collection_tag(tag.as_deref(), "map").map_err(|error| (line, error))?;
                let mut entries: Vec<(Node, Rc<Node>)> = Vec::new();
                let end = loop {
                    match self.inside()? {
                        (Event::MappingEnd, span) => break span,
                        (event, span) => {
                            let key = self.node(event, span, None)?;
                            let (event, span) = self.inside()?;
                            let mut value = self.node(event, span, Some(key.end))?;
                            if let Some(value) = Rc::get_mut(&mut value).filter(|value| value.start == value.end) {
                                // A value that is not there stands where the next token does: put it behind the colon.
                                let colon = self.text.get(key.end..).and_then(|rest| rest.find(':'));
                                value.end = colon.map_or(key.end, |offset| key.end + offset + 1);
                                value.start = value.end;
                            }
                            entries.push((Rc::unwrap_or_clone(key), value));
                        }
                    }
                };
                let flow = style == StructureStyle::Flow;
                node.end = extent(flow, &end, entries.last().map(|(key, value)| value.end.max(key.end)), range.end);
                node.kind = Kind::Mapping { entries, flow };
                self.depth -= 1;
            }
            _ => return Err((line, Error::Syntax("a node is missing".to_owned()))),
        }
        let node = Rc::new(node);
        if let Some(id) = anchor {
            self.anchors.insert(id, Some(Rc::clone(&node)));
        }
        Ok(node)
    }
}

/// A list as indented as its key begins, for the parser, behind its first dash.
fn first_dash(text: &str, key_end: usize) -> Option<usize> {
    let mut at = key_end;
    for line in text.get(key_end..)?.split_inclusive('\n').skip(1) {
        at += text.get(at..)?.find('\n')? + 1;
        let content = line.trim_start_matches(' ');
        if content.starts_with('-') {
            return Some(at + line.len() - content.len());
        }
    }
    None
}

/// A block at the end of a text without a last line break has none either; the parser adds one.
fn without_break_at_end(mut scalar: String, text: &str) -> String {
    if !text.ends_with('\n') && scalar.ends_with('\n') {
        scalar.pop();
    }
    scalar
}

/// The parser ends a block where the next token stands; for editing it ends with its last child.
fn extent(flow: bool, end: &Span, last_child: Option<usize>, start: usize) -> usize {
    let bracket = end.byte_range().map_or(start, |range| range.end);
    if flow { bracket } else { last_child.unwrap_or(start) }
}

fn collection_tag(tag: Option<&Tag>, own: &str) -> Result<(), Error> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.core_suffix() == Some(own) || tag.is_custom() => Ok(()),
        Some(tag) => Err(Error::Tag(tag.original())),
    }
}

fn tagged(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, Error> {
    let plain = style == ScalarStyle::Plain;
    let Some(tag) = tag else {
        return Ok(if plain { Scalar::Plain(text) } else { Scalar::Text(text) });
    };
    let Some(suffix) = tag.core_suffix() else {
        // `!` and tags of other languages: the reader of Kubernetes takes the text as it stands.
        return if tag.handle() == "tag:yaml.org,2002:" {
            Err(Error::Tag(tag.original()))
        } else {
            Ok(Scalar::Text(text))
        };
    };
    if suffix == "str" {
        return Ok(Scalar::Text(text));
    }
    let fits = |value: &serde_json::Value| match suffix {
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    match scalar::resolve(&text, Schema::Kubernetes) {
        Plain::Value(value) if fits(&value) => Ok(Scalar::Known(value)),
        _ => Err(Error::Mistagged { value: text, tag: tag.original() }),
    }
}
