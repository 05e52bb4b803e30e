//! What the scheduler and the kubelet make of a pod's resources, by their own rules.

use std::collections::BTreeMap;

use serde_json::Value;

use super::list;
use crate::domain::quantity;

/// By the rules of the API server, over the containers that count (`pkg/apis/core/v1/helper/qos`).
pub(super) fn quality_of_service(pod: &Value) -> &'static str {
    let all: Vec<&Value> =
        list(&pod["spec"], "containers").iter().chain(list(&pod["spec"], "initContainers")).collect();
    let figure = |c: &Value, kind: &str, name: &str| {
        let given = |kind: &str| c["resources"][kind].get(name).filter(|value| !value.is_null()).cloned();
        given(kind).or_else(|| given("limits"))
    };
    let names = ["cpu", "memory"];
    let any = all.iter().any(|c| names.iter().any(|n| figure(c, "requests", n).is_some()));
    let whole = |c: &&Value| {
        names.iter().all(|n| {
            let limit = c["resources"]["limits"].get(*n).filter(|value| !value.is_null());
            limit.is_some() && figure(c, "requests", n).as_ref() == limit
        })
    };
    match (any, all.iter().all(whole)) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What the pod as a whole asks for: the greater of what its containers and sidecars need together and what any init
/// container needs beside the sidecars before it (KEP-753; `component-helpers/resource`).
pub(super) fn effective(pod: &Value, kind: &str) -> Sums {
    let mut running = Sums::new();
    let mut most = Sums::new();
    for container in list(&pod["spec"], "initContainers") {
        let own = figures(container, kind);
        if container["restartPolicy"] == "Always" {
            add(&mut running, &own);
        } else {
            let mut beside = running.clone();
            add(&mut beside, &own);
            raise(&mut most, &beside);
        }
        raise(&mut most, &running);
    }
    for container in list(&pod["spec"], "containers") {
        add(&mut running, &figures(container, kind));
    }
    raise(&mut most, &running);
    most
}

type Sums = BTreeMap<String, u64>;

/// In thousandths; an absent request is the limit (`SetDefaults_Pod` of the API server).
fn figures(container: &Value, kind: &str) -> Sums {
    let given = |kind: &str| {
        let figures = container["resources"][kind].as_object().into_iter().flatten();
        let figures = figures.filter(|(_, value)| !value.is_null());
        figures.map(|(name, value)| (name.clone(), thousandths(value))).collect::<Sums>()
    };
    let mut all = if kind == "requests" { given("limits") } else { Sums::new() };
    all.extend(given(kind));
    all
}

/// Quantities as the generator writes them.
fn thousandths(value: &Value) -> u64 {
    match value {
        Value::String(text) => match text.strip_suffix('m') {
            Some(milli) => milli.parse().unwrap(),
            None => 1000 * quantity::parse(text).unwrap(),
        },
        other => 1000 * other.as_u64().unwrap(),
    }
}

fn add(sums: &mut Sums, more: &Sums) {
    for (name, value) in more {
        *sums.entry(name.clone()).or_default() += value;
    }
}

fn raise(sums: &mut Sums, other: &Sums) {
    for (name, value) in other {
        let sum = sums.entry(name.clone()).or_default();
        *sum = (*sum).max(*value);
    }
}
