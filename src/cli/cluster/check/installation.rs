//! Where the product is installed, of which version, and whether its pods are ready.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt, api::ListParams};

use super::{
    finding::{Finding, Mark},
    readable,
};
use crate::cli::cluster::{connect::Cluster, failure::Failure};

/// Where the documentation installs it.
const USUAL: &str = "memlock-system";
/// On every object of the chart.
pub(super) const OURS: &str = "app.kubernetes.io/part-of=memlock-operator";

/// The two Deployments.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) namespace: String,
    deployments: Vec<Deployment>,
}

impl Installation {
    pub(super) fn part(&self, component: &str) -> Option<&Deployment> {
        let label = "app.kubernetes.io/component";
        self.deployments.iter().find(|found| found.labels().get(label).is_some_and(|value| value == component))
    }

    /// The value of a flag on the command line of a part.
    pub(super) fn flag(&self, component: &str, name: &str) -> Option<&str> {
        let spec = self.part(component)?.spec.as_ref()?.template.spec.as_ref()?;
        let mut arguments = spec.containers.iter().flat_map(|container| container.args.iter().flatten());
        arguments.find_map(|argument| argument.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
    }

    /// The controller makes the webhook's certificate.
    pub(super) fn issues_certificates(&self) -> bool {
        self.flag("controller", "certificates") != Some("secret")
    }

    /// The controller writes the authorities into the webhook configuration.
    pub(super) fn manages_ca_bundle(&self) -> bool {
        self.flag("controller", "manage-ca-bundle") != Some("false")
    }

    /// The namespaces that it is confined to; none: all are served.
    pub(super) fn served(&self) -> impl Iterator<Item = &str> {
        self.flag("controller", "namespaces").into_iter().flat_map(|names| names.split(','))
    }

    pub(super) fn service_account(&self) -> Option<&str> {
        let spec = self.part("controller")?.spec.as_ref()?.template.spec.as_ref()?;
        spec.service_account_name.as_deref()
    }
}

pub(super) async fn find(
    cluster: &Cluster,
    named: Option<&str>,
) -> Result<(Option<Installation>, Vec<Finding>), Failure> {
    let api = |namespace: Option<&str>| -> Api<Deployment> { cluster.api(namespace) };
    let ours = || ListParams::default().labels(OURS);
    let mut answer = cluster.list(&api(named), ours()).await;
    // Who may not look everywhere may still look where it usually is.
    if named.is_none() && answer.as_ref().is_err_and(Failure::is_forbidden) {
        answer = cluster.list(&api(Some(USUAL)), ours()).await;
    }
    let deployments = match readable(answer)? {
        Ok(deployments) => deployments,
        Err(failure) => {
            let namespace = named.unwrap_or(USUAL).to_owned();
            let unknown = Finding::unreadable("installation", &failure);
            return Ok((Some(Installation { namespace, deployments: Vec::new() }), vec![unknown]));
        }
    };
    let namespaces: BTreeSet<String> = deployments.iter().filter_map(ResourceExt::namespace).collect();
    let Some(namespace) = namespaces.first().cloned() else {
        let place = named.map(|name| format!(" in namespace {name}")).unwrap_or_default();
        let sentence = format!("memlock-operator is not installed{place}");
        let remedy = format!("helm install memlock charts/memlock-operator -n {USUAL} --create-namespace");
        return Ok((None, vec![Finding::new("installation", Mark::Wrong, sentence).remedy(remedy)]));
    };
    let mut findings = Vec::new();
    if namespaces.len() > 1 {
        let all: Vec<String> = namespaces.into_iter().collect();
        let sentence =
            format!("it is installed more than once, in {}: each pod would be handled twice", all.join(" and "));
        findings.push(Finding::new("installation", Mark::Wrong, sentence).remedy("helm uninstall all but one"));
    }
    let deployments = deployments.into_iter().filter(|found| found.namespace().as_ref() == Some(&namespace)).collect();
    let installation = Installation { namespace, deployments };
    findings.push(versions(&installation));
    findings.extend(["webhook", "controller"].map(|component| ready(&installation, component)));
    Ok((Some(installation), findings))
}

fn versions(installation: &Installation) -> Finding {
    const THIS: &str = env!("CARGO_PKG_VERSION");
    let label = |found: &Deployment, key: &str| found.labels().get(key).cloned();
    let of_app = installation.deployments.iter().filter_map(|found| label(found, "app.kubernetes.io/version"));
    let versions: BTreeSet<String> = of_app.collect();
    let chart = installation.deployments.iter().find_map(|found| label(found, "helm.sh/chart"));
    let chart = chart.map(|chart| format!(" by chart {chart}")).unwrap_or_default();
    let all: Vec<&str> = versions.iter().map(String::as_str).collect();
    let sentence = format!("{} in namespace {}{chart}, this program {THIS}", all.join(" and "), installation.namespace);
    match all.as_slice() {
        [one] if *one == THIS => Finding::new("versions", Mark::Good, sentence),
        [] => Finding::new(
            "versions",
            Mark::Unknown,
            format!("the Deployments have no version label; this program is {THIS}"),
        )
        .remedy("install by the chart, or look at the image tags"),
        [_] => Finding::new("versions", Mark::Warning, sentence)
            .remedy("use the plugin of the installed version, or upgrade the chart"),
        _ => Finding::new("versions", Mark::Wrong, sentence).remedy("finish the upgrade: helm upgrade"),
    }
}

fn ready(installation: &Installation, component: &'static str) -> Finding {
    let Some(found) = installation.part(component) else {
        let sentence = format!("there is no Deployment of the {component} in namespace {}", installation.namespace);
        return Finding::new(component, Mark::Wrong, sentence)
            .remedy("install the chart again with helm upgrade --install");
    };
    let (name, namespace) = (found.name_any(), &installation.namespace);
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = found.status.clone().unwrap_or_default();
    let (ready, updated) = (status.ready_replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    let current = status.observed_generation >= found.metadata.generation && updated >= wanted;
    let look = format!("kubectl -n {namespace} describe deployment {name}, and the logs of its pods");
    let of = format!("{ready} of {wanted} pods ready");
    match (wanted, ready) {
        (..=0, _) => Finding::new(component, Mark::Wrong, format!("Deployment {name} is scaled to 0")).remedy(format!(
            "kubectl -n {namespace} scale deployment {name} --replicas={}",
            if component == "webhook" { 2 } else { 1 }
        )),
        (_, ..=0) => Finding::new(component, Mark::Wrong, of).remedy(look),
        _ if ready < wanted => Finding::new(component, Mark::Warning, of).remedy(look),
        _ if !current => Finding::new(component, Mark::Warning, format!("{of}, but not all are of the newest kind"))
            .remedy("wait for the rollout, or see why it does not go on: kubectl rollout status"),
        _ => Finding::new(component, Mark::Good, of),
    }
}

#[cfg(test)]
#[path = "installation_tests.rs"]
pub(super) mod tests;
