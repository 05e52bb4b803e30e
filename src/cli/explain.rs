//! `explain`: what `inject` or the webhook would do, and why; nothing is changed.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::{
    changes, compose, engines,
    inject::unfit,
    manifest::kinds::Place,
    misplaced,
    note::{Note, Severity},
    offline::{self, Content, EngineArgs, Files, Object},
};
use crate::domain::inject::{self, Injection, Settings, Step, Verb};

/// `memlock-operator explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Print the flags that give a container of the pod the same under this engine.
    #[arg(value_enum)]
    engine: Option<Engine>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    settings: EngineArgs,
}

/// A container engine without Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Engine {
    /// `docker run`
    Docker,
    /// `podman run`
    Podman,
}

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let inputs = match offline::read(&args.files) {
        Ok(inputs) => inputs,
        Err(notes) => return offline::finish(&notes, "", false),
    };
    let settings = args.settings.settings();
    let mut report = Report { text: String::new(), notes: Vec::new() };
    for input in &inputs {
        for object in input.objects.iter().filter(|object| object.document.node.is_some()) {
            match (args.engine, &object.content) {
                (Some(engine), Content::Pods(places)) => {
                    for place in places {
                        report.flags(&input.source.name, object, place, engine);
                    }
                }
                (None, Content::Pods(places)) => {
                    for place in places {
                        report.place(&input.source.name, object, place, &settings);
                    }
                }
                (None, Content::Compose) => report.compose(&input.source.name, object),
                (None, Content::Other) => report.other(&input.source.name, object),
                (Some(_), _) => {}
            }
        }
    }
    offline::finish(&report.notes, &report.text, true)
}

/// What is decided about a pod, line by line: a label and its text.
pub(super) fn in_words(raw: &Value, injection: &Injection, slip: Option<String>) -> Vec<(&'static str, String)> {
    let decision = &injection.decision;
    let verb = match decision.verb {
        Verb::Inject => "inject",
        Verb::Untouched => "leave as it is",
        Verb::Deny => "deny",
    };
    let mut lines = vec![("decision", format!("{verb} ({})", decision.reason.as_str()))];
    if decision.steps.is_empty() {
        lines.push(("because", decision.message.clone()));
    }
    let step = |step: &Step| ("container", format!("{}: {}: {}", step.container, step.row.as_str(), step.message));
    lines.extend(decision.steps.iter().map(step));
    let said = |warning: &&String| decision.steps.iter().all(|step| step.message != **warning);
    let warnings = decision.warnings.iter().filter(said).cloned().chain(slip);
    lines.extend(warnings.map(|warning| ("warning", warning)));
    lines.extend(changes::in_words(raw, &injection.patch).into_iter().map(|change| ("change", change)));
    lines
}

struct Report {
    text: String,
    notes: Vec<Note>,
}

impl Report {
    fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.text, "  {label:<10} {text}");
    }

    fn head(&mut self, source: &str, object: &Object, pointer: &str, subject: &str) {
        let note = object.note(source, Severity::Refused, pointer, Some(subject), "");
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{}", note.to_string().trim_end_matches(": "));
    }

    fn place(&mut self, source: &str, object: &Object, place: &Place, settings: &Settings) {
        let Some(raw) = object.value.pointer(&place.pointer) else { return };
        let injection = match inject::inject(raw, settings) {
            Ok(injection) => injection,
            Err(error) => {
                let (severity, title) = (Severity::Unreadable, Some(place.title.as_str()));
                self.notes.push(object.note(source, severity, &place.owner, title, unfit(&error)));
                return;
            }
        };
        self.head(source, object, &place.owner, &place.title);
        let slip = misplaced::sentence(&object.value, place);
        for (label, text) in in_words(raw, &injection, slip) {
            self.line(label, &text);
        }
        let decision = injection.decision;
        if decision.verb == Verb::Deny {
            let title = Some(place.title.as_str());
            self.notes.push(object.note(source, Severity::Refused, &place.owner, title, decision.message));
        }
    }

    fn compose(&mut self, source: &str, object: &Object) {
        let mut value = object.value.clone();
        let mut services = compose::inject(&mut value);
        let line = |pointer: &str| object.document.node.as_ref().map(|node| node.line_of(pointer));
        services.sort_by_key(|service| line(&service.pointer));
        if services.is_empty() {
            self.head(source, object, "", "Compose file");
            self.line("decision", "leave as it is (NotOptedIn)");
            self.line("because", "no service opted in with the label memlock.dev/swap-device: \"true\"");
        }
        for service in services {
            let title = format!("service {}", service.name);
            self.head(source, object, &service.pointer, &title);
            let verb = match (service.refused, service.changes.is_empty()) {
                (true, _) => "deny",
                (false, true) => "leave as it is",
                (false, false) => "inject",
            };
            self.line("decision", verb);
            let label = if service.refused { "because" } else { "warning" };
            for sentence in &service.sentences {
                self.line(label, sentence);
            }
            for change in &service.changes {
                self.line("change", change);
            }
            if service.refused {
                let note = |sentence| object.note(source, Severity::Refused, &service.pointer, Some(&title), sentence);
                self.notes.extend(service.sentences.into_iter().map(note));
            }
        }
    }

    fn other(&mut self, source: &str, object: &Object) {
        let text = |key: &str| object.value.pointer(key).and_then(serde_json::Value::as_str);
        let subject =
            format!("{} {}", text("/kind").unwrap_or("object"), text("/metadata/name").unwrap_or("(no name)"));
        self.head(source, object, "", &subject);
        self.line("decision", "leave as it is: it holds no pod");
    }

    fn flags(&mut self, source: &str, object: &Object, place: &Place, engine: Engine) {
        let Some(raw) = object.value.pointer(&place.pointer) else { return };
        match engines::flags(raw, engine) {
            Err(sentence) => {
                let title = Some(place.title.as_str());
                self.notes.push(object.note(source, Severity::Refused, &place.owner, title, sentence));
            }
            Ok(containers) => {
                self.head(source, object, &place.owner, &place.title);
                if containers.is_empty() {
                    self.line(
                        "flags",
                        "none: the pod did not opt in with memlock.dev/swap-device: \"true\", or is only checked",
                    );
                }
                for container in containers {
                    self.line("container", &container.name);
                    self.line("flags", &container.command);
                    for note in &container.notes {
                        self.line("note", note);
                    }
                }
            }
        }
    }
}
