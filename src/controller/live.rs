//! One look at a pod for a person, by the rules of the controller's own.

use kube::Client;
use serde_json::Value;

use super::{
    assess::{Assessment, assess},
    check::Checker,
    pod_view::PodView,
    report,
};
use crate::domain::verdict::Verdict;

/// What the kernel says of the pod's chosen containers now, by container; a pod that cannot be looked into is one verdict
/// without a name. `None`: the pod did not opt in.
///
/// Executes what the controller executes, with the rights of the client, and nothing where the controller found too
/// little room for it.
pub async fn look(client: &Client, pod: &Value) -> Result<Option<Vec<(String, Verdict)>>, serde_json::Error> {
    let view: PodView = serde_json::from_value(pod.clone())?;
    Ok(match assess(&view) {
        Assessment::Clean => None,
        Assessment::Settled(verdict) => Some(vec![(String::new(), verdict)]),
        Assessment::Check(targets) => {
            let checker = Checker::new(client.clone());
            Some(checker.check(&view.key(), &targets, &report::headroom_on(&view, &targets)).await.containers)
        }
    })
}
