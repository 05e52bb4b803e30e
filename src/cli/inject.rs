//! `inject` and `uninject`: manifests in, manifests out.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use json_patch::Patch;
use serde_json::Value;

use super::{
    compose,
    manifest::{
        documents::Form,
        kinds::Place,
        source::Source,
        write::{self, Written},
    },
    misplaced,
    note::{Note, Severity},
    offline::{self, Content, EngineArgs, Files, Input, Object},
};
use crate::domain::{
    inject::{self, Reason, Row, Settings, UndoError, Verb},
    names,
};

/// `memlock-operator inject`.
#[derive(Debug, Args)]
pub(super) struct InjectArgs {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    engine: EngineArgs,
    /// Leave out the annotation memlock.dev/injected, without which uninject cannot restore the manifest.
    /// Podman 4.3 needs it so: its kube play refuses annotations longer than 63 characters.
    #[arg(long)]
    no_record: bool,
}

/// `memlock-operator uninject`.
#[derive(Debug, Args)]
pub(super) struct UninjectArgs {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Args)]
struct Shape {
    /// Write every document in this form; default: each as it came.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    /// Show what would change, as a unified diff, instead of the manifests.
    #[arg(long, conflicts_with = "output")]
    diff: bool,
}

/// The form in which documents are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// As kubectl writes it.
    Yaml,
    /// Indented by four.
    Json,
}

/// What is done to the pods of a text.
#[derive(Debug, Clone, Copy)]
pub enum Rewrite<'a> {
    /// What the webhook would add is added.
    Inject(&'a Settings),
    /// It is taken back.
    Uninject,
}

/// What a document becomes.
struct Outcome {
    value: Value,
    notes: Vec<Note>,
}

pub(super) fn inject(args: &InjectArgs) -> ExitCode {
    let settings = args.engine.settings();
    let recorded = !args.no_record;
    run(&args.files, &args.shape, &|source, object| {
        let mut outcome = injected(source, object, &settings);
        if let (false, Content::Pods(places)) = (recorded, &object.content) {
            for place in places {
                forget(&mut outcome.value, place);
            }
        }
        outcome
    })
}

pub(super) fn uninject(args: &UninjectArgs) -> ExitCode {
    run(&args.files, &args.shape, &uninjected)
}

/// A text as the commands would print it, refused pods as they came; `None` where it cannot be read or not be written in
/// that form.
#[must_use]
pub fn rewrite(text: &str, act: Rewrite<'_>, output: Option<Output>) -> Option<String> {
    let shape = Shape { output, diff: false };
    let objects = offline::objects(text).ok()?;
    let inputs = [Input { source: Source { name: String::new(), text: text.to_owned() }, objects }];
    let act = |source: &str, object: &Object| match act {
        Rewrite::Inject(settings) => injected(source, object, settings),
        Rewrite::Uninject => uninjected(source, object),
    };
    let (output, notes) = printed(&inputs, &shape, &act);
    notes.iter().all(|note| note.severity < Severity::Unreadable).then_some(output)
}

fn run(files: &Files, shape: &Shape, act: &dyn Fn(&str, &Object) -> Outcome) -> ExitCode {
    match offline::read(files) {
        Ok(inputs) => {
            let (output, notes) = printed(&inputs, shape, act);
            offline::finish(&notes, &output, false)
        }
        Err(notes) => offline::finish(&notes, "", false),
    }
}

/// What comes out of the inputs, and what is said about them.
fn printed(inputs: &[Input], shape: &Shape, act: &dyn Fn(&str, &Object) -> Outcome) -> (String, Vec<Note>) {
    let mut notes = Vec::new();
    let mut output = String::new();
    for input in inputs {
        let mut chunks = Vec::new();
        for object in &input.objects {
            let mut outcome = act(&input.source.name, object);
            outcome.notes.sort_by_key(|note| note.place);
            notes.extend(outcome.notes);
            let mut say =
                |severity, sentence| notes.push(object.note(&input.source.name, severity, "", None, sentence));
            match written(object, &outcome.value, shape) {
                Some(written) => {
                    if written.lost {
                        say(Severity::Warning, COMMENTS_LOST);
                    }
                    chunks.push(written.text);
                }
                None => say(Severity::Unreadable, UNWRITABLE),
            }
        }
        if shape.diff {
            let name = &input.source.name;
            output.push_str(&unified(name, &input.source.text, &chunks.concat()));
        } else {
            join(&mut output, input, chunks, inputs, shape);
        }
    }
    (output, notes)
}

const COMMENTS_LOST: &str = "the changes touch anchors or a layout that cannot be edited in place, so that these parts were written anew: their comments are lost";
const UNWRITABLE: &str = "the changes cannot be written into this layout so that they read back alike; convert the manifest first, for example with kubectl create --dry-run=client -o yaml";

/// The document with the value in it; `None`: it cannot be written there.
fn written(object: &Object, value: &Value, shape: &Shape) -> Option<Written> {
    let document = &object.document;
    let whole = |text| Some(Written { text, lost: false });
    let Some(node) = &document.node else { return whole(document.text.clone()) };
    let form = form(shape).unwrap_or(document.form);
    if form != document.form {
        return write::converted(document, value, form, object.schema());
    }
    if *value == object.value {
        return whole(document.text.clone());
    }
    write::changed(document, node, value, object.schema())
}

fn form(shape: &Shape) -> Option<Form> {
    shape.output.map(|output| match output {
        Output::Yaml => Form::Yaml,
        Output::Json => Form::Json,
    })
}

/// One file's documents join as they stood; between files, and between forms, kubectl needs a marker.
fn join(output: &mut String, input: &Input, chunks: Vec<String>, inputs: &[Input], shape: &Shape) {
    let is_json = |object: &Object| form(shape).unwrap_or(object.document.form) == Form::Json;
    let all = || inputs.iter().flat_map(|input| &input.objects).filter(|object| object.document.node.is_some());
    let mixed = all().any(|object| is_json(object) != all().next().is_some_and(is_json));
    let mut first_of_file = true;
    for (object, chunk) in input.objects.iter().zip(chunks) {
        let converted = form(shape).is_some_and(|form| form != object.document.form);
        if object.document.node.is_none() && is_json(object) && shape.output.is_some() {
            continue;
        }
        let json = is_json(object);
        if !output.is_empty() && (first_of_file || converted || json && mixed) {
            if !output.ends_with('\n') {
                output.push('\n');
            }
            if (!json || mixed) && !chunk.trim_start_matches('\u{feff}').starts_with("---") {
                output.push_str("---\n");
            }
        }
        output.push_str(&chunk);
        first_of_file = false;
    }
}

fn unified(name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    similar::TextDiff::from_lines(old, new).unified_diff().header(name, name).to_string()
}

fn injected(source: &str, object: &Object, settings: &Settings) -> Outcome {
    let mut outcome = Outcome { value: object.value.clone(), notes: Vec::new() };
    match &object.content {
        Content::Other => {}
        Content::Compose => {
            for service in compose::inject(&mut outcome.value) {
                let severity = if service.refused { Severity::Refused } else { Severity::Warning };
                let title = format!("service {}", service.name);
                let note = |sentence| object.note(source, severity, &service.pointer, Some(&title), sentence);
                outcome.notes.extend(service.sentences.into_iter().map(note));
            }
        }
        Content::Pods(places) => {
            for place in places {
                outcome.notes.extend(misplaced(source, object, place));
                inject_place(source, object, place, settings, &mut outcome);
            }
        }
    }
    outcome
}

fn inject_place(source: &str, object: &Object, place: &Place, settings: &Settings, outcome: &mut Outcome) {
    let note = |severity, sentence: String| object.note(source, severity, &place.owner, Some(&place.title), sentence);
    let Some(raw) = outcome.value.pointer_mut(&place.pointer).filter(|raw| speaks_to_us(raw)) else { return };
    let injection = match inject::inject(raw, settings) {
        Ok(injection) => injection,
        Err(error) => {
            outcome.notes.push(note(Severity::Unreadable, unfit(&error)));
            return;
        }
    };
    let decision = injection.decision;
    outcome.notes.extend(decision.warnings.into_iter().map(|warning| note(Severity::Warning, warning)));
    if decision.verb == Verb::Deny {
        let remedy = if decision.reason == Reason::Row(Row::AgentMissing) && settings.agent.is_none() {
            "; or name the agent's image with --agent-image"
        } else {
            ""
        };
        outcome.notes.push(note(Severity::Refused, format!("{}{remedy}", decision.message)));
        return;
    }
    outcome.notes.extend(apply(raw, &injection.patch).err().map(|sentence| note(Severity::Unreadable, sentence)));
}

fn uninjected(source: &str, object: &Object) -> Outcome {
    let mut outcome = Outcome { value: object.value.clone(), notes: Vec::new() };
    match &object.content {
        Content::Other => {}
        Content::Compose => {
            for service in compose::uninject(&mut outcome.value) {
                let title = format!("service {}", service.name);
                let note = |sentence| object.note(source, Severity::Refused, &service.pointer, Some(&title), sentence);
                outcome.notes.extend(service.sentences.into_iter().map(note));
            }
        }
        Content::Pods(places) => {
            for place in places {
                let note =
                    |severity, sentence| object.note(source, severity, &place.owner, Some(&place.title), sentence);
                let Some(raw) = outcome.value.pointer_mut(&place.pointer).filter(|raw| speaks_to_us(raw)) else {
                    continue;
                };
                match inject::uninject(raw) {
                    Ok(patch) => {
                        let failed = apply(raw, &patch).err();
                        outcome.notes.extend(failed.map(|sentence| note(Severity::Unreadable, sentence)));
                    }
                    Err(error) => {
                        let unfit = matches!(error, UndoError::BadPod(_));
                        let severity = if unfit { Severity::Unreadable } else { Severity::Refused };
                        outcome.notes.push(note(severity, error.to_string()));
                    }
                }
            }
        }
    }
    outcome
}

/// Whether any annotation of ours stands on the pod: a pod without one is none of our business, whatever its shape.
fn speaks_to_us(pod: &Value) -> bool {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.is_some_and(|annotations| annotations.keys().any(|key| key.starts_with(names::PREFIX)))
}

/// Takes the record away.
fn forget(object: &mut Value, place: &Place) {
    let annotations = object.pointer_mut(&format!("{}/metadata/annotations", place.pointer));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(names::INJECTED);
    }
}

/// The sentence for a pod that does not have the shape of one.
pub(super) fn unfit(error: &serde_json::Error) -> String {
    format!("the pod cannot be read ({error}); correct the manifest")
}

fn apply(raw: &mut Value, patch: &Patch) -> Result<(), String> {
    json_patch::patch(raw, patch)
        .map_err(|error| format!("the changes do not fit the object ({error}), which is a fault of this program; please report it with the manifest"))
}

/// The commonest slip: the annotation stands on the workload, where no pod ever gets it.
pub(super) fn misplaced(source: &str, object: &Object, place: &Place) -> Option<Note> {
    let sentence = misplaced::sentence(&object.value, place)?;
    Some(object.note(source, Severity::Warning, &place.owner, Some(&place.title), sentence))
}
