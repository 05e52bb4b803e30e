//! An annotation of ours that stands on a workload instead of its pod template.

use serde_json::Value;

use super::manifest::kinds::Place;
use crate::domain::{annotations::ANNOTATIONS, names};

/// One sentence on the first such annotation; `None`: all are where pods get them.
pub(super) fn sentence(object: &Value, place: &Place) -> Option<String> {
    let path = place.pointer.strip_prefix(&place.owner).filter(|path| !path.is_empty())?;
    let known = |key: &str| ANNOTATIONS.iter().any(|annotation| annotation.key == key);
    let annotations = |pointer: String| object.pointer(&format!("{pointer}/metadata/annotations"));
    let on_pod = annotations(place.pointer.clone());
    // A CronJob has a template in between, which is as wrong a place.
    let between = path.rfind("/spec/template").map(|end| format!("{}{}", place.owner, path.get(..end).unwrap_or("")));
    let owners = [Some(place.owner.clone()), between.filter(|between| *between != place.owner)];
    let key = owners.into_iter().flatten().find_map(|owner| {
        let keys = annotations(owner)?.as_object()?.keys();
        keys.map(String::as_str).find(|key| known(key) && on_pod.and_then(|found| found.get(key)).is_none())
    })?;
    let where_to = path.trim_start_matches('/').replace('/', ".");
    Some(format!(
        "the annotation {key} stands on the {} itself, and its pods never get it; move it to {where_to}.metadata.annotations{}",
        place.title.split(' ').next().unwrap_or("workload"),
        if key == names::SWAP_DEVICE { ", or nothing is done for them" } else { "" },
    ))
}
