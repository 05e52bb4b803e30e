//! What the commands without a cluster share: inputs, the engine's settings, output and exit codes.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use serde_json::Value;

use super::{
    compose,
    manifest::{
        documents::{self, Document, Unreadable},
        kinds::{self, Place},
        scalar::Schema,
        source::{self, Source},
    },
    note::{self, Note, Severity},
};
use crate::{
    domain::inject::{Level, Settings},
    webhook::AgentArgs,
};

/// Which files are read.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// A file, a folder, or - for standard input; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-", required = true)]
    names: Vec<PathBuf>,
    /// Also the folders inside the folders.
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// What the cluster would say.
#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// Pod Security level that the namespace enforces: privileged, baseline or restricted.
    #[arg(long, default_value = "privileged", value_name = "LEVEL")]
    namespace_level: Level,
    #[command(flatten)]
    agent: AgentArgs,
    /// The capability only: nothing of ours is pulled or mounted, whatever image the environment names.
    #[arg(long, conflicts_with = "agent_image")]
    no_agent: bool,
}

impl EngineArgs {
    pub(super) fn settings(&self) -> Settings {
        let agent = if self.no_agent { None } else { self.agent.agent() };
        Settings { level: self.namespace_level, agent }
    }
}

/// A file and what it holds.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) source: Source,
    pub(super) objects: Vec<Object>,
}

/// One document and what it is.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) document: Document,
    /// `Null` for a document that holds nothing.
    pub(super) value: Value,
    pub(super) content: Content,
}

/// What is in a document for us.
#[derive(Debug)]
pub(super) enum Content {
    /// Pods and pod templates, with where they stand.
    Pods(Vec<Place>),
    /// A Compose file.
    Compose,
    /// Nothing of ours.
    Other,
}

impl Object {
    pub(super) fn schema(&self) -> Schema {
        if matches!(self.content, Content::Compose) { Schema::Compose } else { Schema::Kubernetes }
    }

    /// A sentence about something in the document.
    pub(super) fn note(
        &self,
        source: &str,
        severity: Severity,
        pointer: &str,
        subject: Option<&str>,
        sentence: impl Into<String>,
    ) -> Note {
        let line = self.document.node.as_ref().map_or(self.document.first_line, |node| node.line_of(pointer));
        Note {
            severity,
            source: source.to_owned(),
            place: Some((self.document.number, line)),
            subject: subject.map(str::to_owned),
            sentence: sentence.into(),
        }
    }
}

/// Reads everything that was named, or says what cannot be read.
pub(super) fn read(files: &Files) -> Result<Vec<Input>, Vec<Note>> {
    let sources = source::read(&files.names, files.recursive).map_err(|error| {
        let (source, sentence) = error.parts();
        vec![Note { severity: Severity::Unreadable, source, place: None, subject: None, sentence }]
    })?;
    let mut inputs = Vec::new();
    let mut notes = Vec::new();
    for source in sources {
        match objects(&source.text) {
            Ok(objects) => inputs.push(Input { source, objects }),
            Err(error) => notes.push(Note {
                severity: Severity::Unreadable,
                source: source.name,
                place: Some((error.number, error.line)),
                subject: None,
                sentence: error.sentence,
            }),
        }
    }
    if notes.is_empty() { Ok(inputs) } else { Err(notes) }
}

/// What a text holds.
pub(super) fn objects(text: &str) -> Result<Vec<Object>, Unreadable> {
    documents::read(text)?.into_iter().map(object).collect()
}

fn object(document: Document) -> Result<Object, Unreadable> {
    let Some(node) = &document.node else {
        return Ok(Object { document, value: Value::Null, content: Content::Other });
    };
    let is_compose = compose::is_compose(node);
    let schema = if is_compose { Schema::Compose } else { Schema::Kubernetes };
    let value = node.value(schema).map_err(|fault| Unreadable::of(document.number, fault))?;
    let places = kinds::places(&value);
    let content = match (is_compose, places.is_empty()) {
        (true, _) => Content::Compose,
        (false, false) => Content::Pods(places),
        (false, true) => Content::Other,
    };
    Ok(Object { document, value, content })
}

/// Prints the sentences, then the text if nothing was refused, and says it all in the exit code:
/// 0 done, 1 refused, 2 usage or unreadable input.
pub(super) fn finish(notes: &[Note], text: &str, even_if_refused: bool) -> ExitCode {
    note::print(notes);
    let worst = notes.iter().map(|note| note.severity).max();
    let refused = worst.is_some_and(|severity| severity >= Severity::Refused);
    if !refused || even_if_refused && worst == Some(Severity::Refused) {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                let sentence = format!("cannot be written ({error}); make room and run it again");
                let (source, place) = ("standard output".to_owned(), None);
                note::print(&[Note { severity: Severity::Unreadable, source, place, subject: None, sentence }]);
                return ExitCode::from(2);
            }
            Ok(()) => {}
        }
    }
    match worst {
        Some(Severity::Unreadable) => ExitCode::from(2),
        Some(Severity::Refused) => ExitCode::from(1),
        Some(Severity::Warning) | None => ExitCode::SUCCESS,
    }
}
