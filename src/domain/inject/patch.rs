//! Decision + raw object → the operations that make it so. Empty when it already is.

use json_patch::Patch;
use serde_json::{Value, json};

use super::{
    decide::{Decision, Launcher, Step, Verb},
    init,
    pod::{Container, Pod},
    record::{ContainerRecord, Record},
    settings::{Agent, Delivery, Settings},
    writer::Writer,
};
use crate::domain::{
    intent::{Intent, Limit},
    names,
};

/// Writes what was decided, and applies it to the object.
#[must_use]
pub fn patch(decision: &Decision, raw: &mut Value, pod: &Pod, settings: &Settings) -> Patch {
    let (true, Some(intent)) = (decision.is_managed(), &decision.intent) else { return Patch(Vec::new()) };
    let mut injection = Injection { writer: Writer::new(raw), record: Record::empty(), pod, intent };
    injection.strip_outputs();
    let stripped = injection.writer.written();
    if decision.verb == Verb::Inject {
        let agent = settings.agent.as_ref().map(|agent| as_it_stands(agent, pod));
        for step in &decision.steps {
            injection.container(step, agent.as_ref());
        }
        if let Some(agent) = agent.filter(|_| decision.steps.iter().any(Step::needs_agent)) {
            injection.files(decision, &agent);
        }
        if intent.readiness_gate && !pod.has_gate() {
            injection.gate();
        }
        for step in &decision.steps {
            injection.limit(&step.container);
        }
        injection.pin(&decision.steps);
    }
    injection.finish(stripped)
}

/// A manifest made for the other delivery stays with it.
fn as_it_stands(agent: &Agent, pod: &Pod) -> Agent {
    let own = pod.volume().filter(|_| pod.has_own_volume());
    let delivery = own.map_or(agent.delivery, |volume| match volume.image {
        Some(_) => Delivery::ImageVolume,
        None => Delivery::InitContainer,
    });
    Agent { delivery, ..agent.clone() }
}

struct Injection<'a> {
    writer: Writer<'a>,
    record: Record,
    pod: &'a Pod,
    intent: &'a Intent,
}

impl Injection<'_> {
    /// Verdicts that came with a copied manifest.
    fn strip_outputs(&mut self) {
        self.writer.remove(&["metadata", "annotations", names::STATUS]);
        self.writer.remove(&["metadata", "labels", names::STATE]);
    }

    fn container(&mut self, step: &Step, agent: Option<&Agent>) {
        let Some((list, index, container)) = locate(self.pod, &step.container) else { return };
        let base = ["spec", list, &index.to_string()].map(str::to_owned);
        let mut edit = Edit { injection: self, base, done: ContainerRecord::default() };
        for capability in &step.capabilities {
            edit.grant(capability);
        }
        if let (Some(agent), true) = (agent, step.needs_agent() && !container.has_mount()) {
            edit.append(&["volumeMounts"], init::mount(agent));
        }
        if let Some(launcher) = &step.launcher {
            edit.launch(launcher, container);
        }
        if step.preload {
            edit.preload(container);
        }
        let done = edit.done;
        if done != ContainerRecord::default() {
            self.record.containers.insert(step.container.clone(), done);
        }
    }

    /// The volume, and the containers that fill and try it, before all others.
    fn files(&mut self, decision: &Decision, agent: &Agent) {
        if self.pod.volume().is_none() {
            self.ensure("volumes");
            self.writer.insert(&["spec", "volumes"], usize::MAX, init::volume(agent));
        }
        // As patched so far: the preflight runs with the capability that the daemon gets.
        let patched = |name: &str| {
            let (list, index, _) = locate(self.pod, name)?;
            self.writer.get(&["spec", list, &index.to_string()])
        };
        let first = decision.steps.first().and_then(|step| patched(&step.container)).unwrap_or(&Value::Null);
        let mut stands = Vec::new();
        let mut added = Vec::new();
        if agent.delivery == Delivery::InitContainer {
            let install = init::install(agent, decision, self.pod, first);
            match self.pod.install() {
                Some(index) => stands.push((index, install)),
                None => added.push(install),
            }
        }
        let mut names: Vec<String> = self.pod.init_containers().iter().map(|c| c.name.clone()).collect();
        for step in decision.steps.iter().filter(|step| step.preflight) {
            let Some((_, _, container)) = locate(self.pod, &step.container) else { continue };
            let Some(raw) = patched(&step.container) else { continue };
            let name = init::preflight_name(&names);
            let preflight = init::preflight(&name, agent, self.intent, container, raw, first);
            if let Some(index) = self.pod.preflight(&step.container) {
                stands.push((index, preflight));
            } else {
                added.push(preflight);
                names.push(name);
            }
        }
        for (index, wanted) in stands {
            self.follow(index, &wanted);
        }
        if !added.is_empty() {
            self.ensure("initContainers");
            let after = self.pod.init_containers().iter().take_while(|c| c.is_ours()).count();
            for (n, mut container) in added.into_iter().enumerate() {
                init::mount_token(&mut container, self.pod);
                self.writer.insert(&["spec", "initContainers"], after + n, container);
            }
        }
    }

    /// An init container of ours that stands already does what is wanted today. What others have changed of it stays.
    fn follow(&mut self, index: usize, wanted: &Value) {
        let index = index.to_string();
        let command = ["spec", "initContainers", &index, "command"];
        if self.writer.get(&command) == wanted.get("command") {
            return;
        }
        for key in ["command", "securityContext"] {
            if let Some(value) = wanted.get(key) {
                self.writer.put(&["spec", "initContainers", &index, key], value.clone());
            }
        }
    }

    fn gate(&mut self) {
        self.ensure("readinessGates");
        let gate = json!({ "conditionType": names::LOCK_VERIFIED_CONDITION });
        self.writer.insert(&["spec", "readinessGates"], usize::MAX, gate);
        self.record.gate = true;
    }

    /// "The first container" may be another one once other injectors have run: what was chosen is written down,
    /// for our second run and for the controller.
    fn pin(&mut self, steps: &[Step]) {
        if !self.pod.annotations().contains_key(names::CONTAINERS) {
            let chosen: Vec<&str> = steps.iter().map(|step| step.container.as_str()).collect();
            self.writer.put(&["metadata", "annotations", names::CONTAINERS], json!(chosen.join(",")));
            self.record.annotations.push(names::CONTAINERS.to_owned());
        }
    }

    /// An author's own value stays.
    fn limit(&mut self, container: &str) {
        let bytes = match self.intent.limit {
            None => return,
            Some(Limit::Bytes(bytes)) => bytes,
            Some(Limit::Unlimited) => u64::MAX,
        };
        let Some(key) = names::nri_ulimits(container) else { return };
        if !self.pod.annotations().contains_key(&key) {
            self.writer.put(&["metadata", "annotations", &key], json!(init::ulimits(bytes)));
            self.record.annotations.push(key);
        }
    }

    fn ensure(&mut self, list: &str) {
        if let Some(was) = self.writer.ensure(&["spec", list], json!([])) {
            self.record.made.insert(format!("spec/{list}"), was);
        }
    }

    /// The record is written with any change, also where it holds nothing: without it nothing is taken back.
    fn finish(mut self, stripped: usize) -> Patch {
        if self.writer.written() > stripped {
            let annotations = self.pod.annotations();
            let earlier = annotations.get(names::INJECTED).and_then(|text| Record::read(text));
            // Every injection writes down or finds which containers are chosen; where nothing of ours stands, that is
            // the sign of one that needed no files.
            let injected =
                self.pod.has_install() || self.pod.has_own_volume() || annotations.contains_key(names::CONTAINERS);
            let record = match earlier.filter(|_| injected) {
                Some(earlier) => self.record.after(earlier.borne_out(self.pod)),
                None => self.record,
            };
            self.writer.put(&["metadata", "annotations", names::INJECTED], json!(record.to_text()));
        }
        self.writer.into_patch()
    }
}

/// Changes in one container.
struct Edit<'i, 'a> {
    injection: &'i mut Injection<'a>,
    base: [String; 3],
    done: ContainerRecord,
}

impl Edit<'_, '_> {
    fn ensure(&mut self, below: &[&str], empty: Value) {
        if let Some(was) = self.injection.writer.ensure(&below_of(&self.base, below), empty) {
            self.done.made.insert(below.join("/"), was);
        }
    }

    fn grant(&mut self, capability: &str) {
        self.ensure(&["securityContext"], json!({}));
        self.ensure(&["securityContext", "capabilities"], json!({}));
        self.append(&["securityContext", "capabilities", "add"], json!(capability));
        self.done.capabilities.push(capability.to_owned());
    }

    fn append(&mut self, list: &[&str], value: Value) {
        self.ensure(list, json!([]));
        self.injection.writer.insert(&below_of(&self.base, list), usize::MAX, value);
    }

    fn launch(&mut self, launcher: &Launcher, container: &Container) {
        let mut command = init::launch(launcher, self.injection.intent, container);
        command.extend(container.own_command().iter().cloned());
        if container.command.as_ref() != Some(&command) {
            self.injection.writer.put(&below_of(&self.base, &["command"]), json!(command));
        }
    }

    /// Our library before the author's, which stay, and what it reads.
    fn preload(&mut self, container: &Container) {
        if !container.has_preload() {
            self.load(container);
        }
        for (name, value) in init::variables(self.injection.intent, container) {
            match container.env(name) {
                None => self.append(&["env"], json!({ "name": name, "value": value })),
                Some((_, var)) if var.value.as_ref() == Some(&value) || var.value_from.is_some() => {}
                Some((index, _)) => {
                    let path = ["env", &index.to_string(), "value"];
                    self.injection.writer.put(&below_of(&self.base, &path), json!(value));
                }
            }
        }
    }

    fn load(&mut self, container: &Container) {
        if let Some((index, var)) = container.env("LD_PRELOAD") {
            let index = index.to_string();
            self.ensure(&["env", &index, "value"], json!(""));
            let value = format!("{}:{}", names::PRELOAD_FILE, var.value.as_deref().unwrap_or_default());
            self.injection.writer.put(&below_of(&self.base, &["env", &index, "value"]), json!(value));
        } else {
            self.append(&["env"], json!({ "name": "LD_PRELOAD", "value": names::PRELOAD_FILE }));
        }
    }
}

fn below_of<'p>(base: &'p [String], below: &[&'p str]) -> Vec<&'p str> {
    base.iter().map(String::as_str).chain(below.iter().copied()).collect()
}

/// The list, the place in it and the container itself.
pub(super) fn locate<'a>(pod: &'a Pod, name: &str) -> Option<(&'static str, usize, &'a Container)> {
    let main = pod.containers().iter().enumerate().find(|(_, c)| c.name == name);
    let main = main.map(|(index, container)| ("containers", index, container));
    main.or_else(|| {
        let sidecar = pod.sidecars().find(|(_, c)| c.name == name);
        sidecar.map(|(index, container)| ("initContainers", index, container))
    })
}
