//! One look at a pod for a person, by the rules of the controller's own.

use kube::Client;
use serde_json::Value;

use super::{
    assess::{Assessment, assess},
    check::{Checker, Headroom},
    pod_view::PodView,
};
use crate::domain::verdict::Verdict;

/// What the kernel says of the pod's chosen containers now, by container; a pod that cannot be looked into is one verdict
/// without a name. `None`: the pod did not opt in.
///
/// Executes what the controller executes, with the rights of the client. As nothing is known of the container's memory,
/// the rules of a first look hold.
pub async fn look(client: &Client, pod: &Value) -> Result<Option<Vec<(String, Verdict)>>, serde_json::Error> {
    let view: PodView = serde_json::from_value(pod.clone())?;
    Ok(match assess(&view) {
        Assessment::Clean => None,
        Assessment::Settled(verdict) => Some(vec![(String::new(), verdict)]),
        Assessment::Check(targets) => {
            let checker = Checker::new(client.clone());
            Some(checker.check(&view.key(), &targets, &Headroom::new()).await.containers)
        }
    })
}
