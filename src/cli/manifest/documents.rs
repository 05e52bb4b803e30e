//! The text of a file → its documents, whose texts joined are the file again, byte for byte.

use super::{
    json,
    node::{Fault, Faulty, Node},
    yaml,
};

/// One document of a file.
#[derive(Debug)]
pub(crate) struct Document {
    /// All of it: what stands before the node (`---`, comments), the node, and what follows.
    pub(crate) text: String,
    /// `None`: only comments or nothing.
    pub(crate) node: Option<Node>,
    /// Which one of the file's documents that hold something; counted from 1.
    pub(crate) number: usize,
    /// Of the file, on which the text begins.
    pub(crate) first_line: usize,
    pub(crate) form: Form,
}

/// How the document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Yaml,
    Json,
}

/// A document that cannot be read: which one, on which line, and a sentence.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) number: usize,
    pub(crate) line: usize,
    pub(crate) sentence: String,
}

impl Unreadable {
    /// The fault of a document that could be parsed.
    pub(crate) fn of(number: usize, (line, fault): Faulty) -> Self {
        Self { number, line, sentence: fault.to_string() }
    }
}

/// Splits and parses the text of a file.
pub(crate) fn read(text: &str) -> Result<Vec<Document>, Unreadable> {
    if looks_like_json(text) {
        match json::documents(text) {
            Ok(documents) => return Ok(documents),
            // kubectl too tries YAML, of which JSON is nearly a subset; the error people can use is the first one, unless
            // both end at the depth.
            Err(error) => {
                let too_deep = Fault::TooDeep.to_string();
                return read_yaml(text).map_err(|second| if second.sentence == too_deep { second } else { error });
            }
        }
    }
    read_yaml(text)
}

/// As kubectl guesses: the first character that is no space.
fn looks_like_json(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').trim_start().starts_with('{')
}

fn read_yaml(text: &str) -> Result<Vec<Document>, Unreadable> {
    let mut documents: Vec<Document> = Vec::new();
    let mut first_line = 1;
    let mut number = 0;
    for part in split(text) {
        let body = part.trim_start_matches('\u{feff}');
        // Places count from the text with its mark, which the parser must not see.
        let mark = part.len() - body.len();
        let node = yaml::parse(body, first_line).map_err(|(line, error)| Unreadable {
            number: number + 1,
            line,
            sentence: error.to_string(),
        })?;
        number += usize::from(node.is_some());
        let node = node.map(|node| if mark == 0 { node } else { shifted(node, mark) });
        documents.push(Document { text: part.to_owned(), node, number, first_line, form: Form::Yaml });
        first_line += part.matches('\n').count();
    }
    Ok(documents)
}

fn shifted(mut node: Node, by: usize) -> Node {
    use std::rc::Rc;

    use super::node::Kind;
    node.start += by;
    node.end += by;
    let shift = |inner: Rc<Node>| Rc::new(shifted(Rc::unwrap_or_clone(inner), by));
    node.kind = match node.kind {
        Kind::Sequence { items, flow } => Kind::Sequence { items: items.into_iter().map(shift).collect(), flow },
        Kind::Mapping { entries, flow } => {
            let entries = entries.into_iter().map(|(key, value)| (shifted(key, by), shift(value))).collect();
            Kind::Mapping { entries, flow }
        }
        other => other,
    };
    node
}

/// Cuts before each `---` and after each `...`, which at the start of a line are markers whatever surrounds them
/// (YAML 1.2.2, 9.1.2). Directives stay with the document that follows.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    let mut at = 0;
    // Whether anything but directives, comments and blank lines stands between `begin` and here.
    let mut holds_something = false;
    let mut directives = false;
    for line in lines(text) {
        if is_marker(line, "---") {
            if holds_something || !directives && at > begin {
                parts.push(text.get(begin..at).unwrap_or_default());
                begin = at;
            }
            holds_something = true;
            directives = false;
        } else if is_marker(line, "...") {
            let end = at + line.len();
            parts.push(text.get(begin..end).unwrap_or_default());
            begin = end;
            holds_something = false;
            directives = false;
        } else if !holds_something {
            let trimmed = line.trim_start_matches('\u{feff}').trim();
            directives |= line.starts_with('%');
            holds_something = !trimmed.is_empty() && !trimmed.starts_with('#') && !line.starts_with('%');
        }
        at += line.len();
    }
    parts.push(text.get(begin..).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The lines with their breaks: LF, CR LF, or CR alone (YAML 1.2.2, 5.4).
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = match rest.find(['\n', '\r']) {
            _ if rest.is_empty() => return None,
            None => rest.len(),
            Some(at) if rest.get(at..)?.starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(line)
    })
}

/// Whether it ends with a line `...`, without which what follows would belong to it.
pub(super) fn is_ended(text: &str) -> bool {
    lines(text).last().is_some_and(|line| is_marker(line, "..."))
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one("a: 1\n", &["a: 1\n"])]
    #[case::two("a: 1\n---\nb: 2\n", &["a: 1\n", "---\nb: 2\n"])]
    #[case::comment_first("# c\n---\na: 1\n", &["# c\n", "---\na: 1\n"])]
    #[case::empty_ones("---\n---\na: 1\n---\n", &["---\n", "---\na: 1\n", "---\n"])]
    #[case::ended("a: 1\n...\n# c\n---\nb: 2\n", &["a: 1\n...\n", "# c\n", "---\nb: 2\n"])]
    #[case::directive("%YAML 1.1\n---\na: 1\n", &["%YAML 1.1\n---\na: 1\n"])]
    #[case::crlf("a: 1\r\n---\r\nb: 2", &["a: 1\r\n", "---\r\nb: 2"])]
    #[case::cr("a: 1\r...\rb: 2\r---\rc: 3", &["a: 1\r...\r", "b: 2\r", "---\rc: 3"])]
    #[case::no_marker("a: |\n  ---\n  b\n----: c\n", &["a: |\n  ---\n  b\n----: c\n"])]
    fn parts_are_cut_at_markers(#[case] text: &str, #[case] expected: &[&str]) {
        assert_eq!(split(text), expected);
        assert_eq!(split(text).concat(), text);
    }

    #[test]
    fn numbers_and_lines_count_what_holds_something() {
        let documents = read("# c\n---\na: 1\n---\n# empty\n---\n\nb: 2\n").unwrap();
        let seen: Vec<_> = documents.iter().filter_map(|d| d.node.as_ref().map(|n| (d.number, n.line))).collect();
        assert_eq!(seen, [(1, 3), (2, 8)]);
    }

    #[rstest]
    #[case::unclosed("a: 1\n---\nb: [\n", 2, 3)]
    #[case::tab("a:\n\t- b\n", 1, 2)]
    #[case::two_on_a_line("a: b: c\n", 1, 1)]
    fn errors_know_document_and_line(#[case] text: &str, #[case] number: usize, #[case] line: usize) {
        let error = read(text).unwrap_err();
        assert_eq!((error.number, error.line), (number, line), "{}", error.sentence);
    }

    proptest::proptest! {
        #[test]
        fn any_text_splits_into_itself(text in "(---|\\.\\.\\.|[ab#%:\\n\\r\\t -]){0,60}") {
            proptest::prop_assert_eq!(split(&text).concat(), text);
        }
    }
}
