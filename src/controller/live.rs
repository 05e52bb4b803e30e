//! One look at a pod for a person, by the rules of the controller's own.

use kube::Client;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    assess::{Assessment, assess},
    check::Checker,
    past::Past,
    pod_view::PodView,
};
use crate::domain::verdict::Verdict;

/// What the kernel says of the pod's chosen containers now, by container; a pod that cannot be looked into is one verdict
/// without a name. `None`: the pod did not opt in.
///
/// Executes what the controller executes, with the rights of the client, and nothing where the controller found too
/// little room for it. `runtime_classes` are those that are known to share the node's kernel.
pub async fn look(
    client: &Client,
    pod: &Value,
    runtime_classes: &[String],
) -> Result<Option<Vec<(String, Verdict)>>, serde_json::Error> {
    let view: PodView = serde_json::from_value(pod.clone())?;
    Ok(match assess(&view, runtime_classes) {
        Assessment::Clean => None,
        Assessment::Settled(verdict) => Some(vec![(String::new(), *verdict)]),
        Assessment::Check(targets) => {
            let before = Past::on(&view, &targets).before(&targets, Instant::now());
            Some(Checker::new(client.clone()).check(&view.key(), &targets, &before).await.containers)
        }
    })
}
