//! What the kernel says now.

use k8s_openapi::api::core::v1::Pod;

use super::raw;
use crate::{cli::cluster::connect::Cluster, controller};

pub(super) async fn look_in_words(
    cluster: &Cluster,
    pod: &Pod,
    only: Option<&str>,
    runtime_classes: &[String],
) -> Vec<(&'static str, String)> {
    let looked = match controller::look(&cluster.client, &raw(pod), runtime_classes).await {
        Ok(Some(looked)) => looked,
        Ok(None) => return vec![("now", "the pod has not opted in, so there is nothing to look for".to_owned())],
        Err(error) => return vec![("now", format!("the pod cannot be read: {error}"))],
    };
    let chosen = looked.into_iter().filter(|(name, _)| name.is_empty() || only.is_none_or(|only| only == name));
    let in_words = |(name, verdict): (String, crate::domain::verdict::Verdict)| {
        let container = if name.is_empty() { String::new() } else { format!("{name}: ") };
        ("now", format!("{container}{} ({}): {}", verdict.state.label(), verdict.reason.as_str(), verdict.message))
    };
    chosen.map(in_words).collect()
}
