//! Whether the cluster knows `SwapDevices`, as this version writes them.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::{Api, CustomResourceExt, Resource};

use super::{
    finding::{Finding, Mark},
    readable,
};
use crate::{
    api::SwapDevice,
    cli::cluster::{connect::Cluster, failure::Failure},
};

const CHECK: &str = "swapdevices";

pub(super) async fn check(cluster: &Cluster) -> Result<Finding, Failure> {
    let version = SwapDevice::api_version(&());
    // Everybody may ask what kinds there are; the definition itself is for administrators.
    let known = match readable(cluster.ask(cluster.client.list_api_group_resources(&version)).await)? {
        Ok(list) => list.resources.iter().any(|resource| resource.name == SwapDevice::plural(&())),
        Err(failure) if failure.is_not_found() => false,
        Err(failure) => return Ok(Finding::unreadable(CHECK, &failure)),
    };
    if !known {
        let sentence = format!(
            "the cluster does not know the kind SwapDevice in {version}, so that kubectl get swapdevices shows nothing; conditions and labels tell the same"
        );
        // `crds.enabled: false` allows it.
        return Ok(Finding::new(CHECK, Mark::Warning, sentence)
            .remedy("install it with the chart of this version: helm upgrade with crds.enabled"));
    }
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let ours = SwapDevice::crd();
    let name = ours.metadata.name.clone().unwrap_or_default();
    Ok(match readable(cluster.ask(api.get(&name)).await)? {
        Ok(theirs) => compare(&version, &paths(&theirs), &paths(&ours)),
        // What could be seen is all that is needed to use it.
        Err(_) => Finding::new(CHECK, Mark::Good, format!("the cluster knows the kind SwapDevice in {version}")),
    })
}

fn compare(version: &str, theirs: &BTreeSet<String>, ours: &BTreeSet<String>) -> Finding {
    let lacking: Vec<&str> = ours.difference(theirs).map(String::as_str).collect();
    if lacking.is_empty() {
        return Finding::new(
            CHECK,
            Mark::Good,
            format!("the cluster knows the kind SwapDevice in {version}, with every field of this version"),
        );
    }
    let sentence =
        format!("the cluster's definition of SwapDevice is of another version, without {}", lacking.join(", "));
    Finding::new(CHECK, Mark::Warning, sentence)
        .remedy("bring it up to date with helm upgrade, or use the plugin of the installed version")
}

/// `status.locked`, and so on, of every version.
fn paths(definition: &CustomResourceDefinition) -> BTreeSet<String> {
    let schemas =
        definition.spec.versions.iter().filter_map(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    let mut found = BTreeSet::new();
    for schema in schemas {
        collect("", schema, &mut found);
    }
    // Whether these are written out is the API server's and the generator's affair.
    found.retain(|path| !["apiVersion", "kind", "metadata"].contains(&path.as_str()));
    found
}

fn collect(at: &str, schema: &JSONSchemaProps, found: &mut BTreeSet<String>) {
    for (name, below) in schema.properties.iter().flatten() {
        let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        collect(&path, below, found);
        found.insert(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_without_a_field_is_another_version() {
        let ours = paths(&SwapDevice::crd());
        assert!(ours.contains("status.locked") && ours.contains("spec.pod"), "{ours:?}");
        assert_eq!(compare("v", &ours, &ours).mark, Mark::Good);
        let mut older = ours.clone();
        older.remove("status.deviceUse");
        let finding = compare("v", &older, &ours);
        assert_eq!(finding.mark, Mark::Warning);
        assert!(finding.line(false).contains("without status.deviceUse"));
        assert_eq!(compare("v", &ours, &older).mark, Mark::Good, "a newer one has all that is needed");
    }
}
