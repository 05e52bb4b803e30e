//! The rights of the product's accounts: what the API server grants, what was used, and what a stolen token can do.

mod sweep;
mod token;
mod used;

use std::{collections::BTreeSet, env, fs};

use serde_json::{Value, json};

use crate::cluster::{SYSTEM, kubectl_with};

const CONTROLLER: &str = "memlock-operator-controller";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");

/// Where a right holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Everywhere,
    /// In the release's namespace alone.
    Own,
}

/// One rule: place, group, resource, verbs, the only object it is about.
type Rule = (Place, &'static str, &'static str, &'static [&'static str], Option<&'static str>);

/// All of them: design and chart say the same, and the API server has no others.
const RULES: [Rule; 10] = [
    (Place::Everywhere, "", "pods", &["list", "watch"], None),
    (Place::Everywhere, "", "pods/status", &["patch"], None),
    (Place::Everywhere, "", "pods/exec", &["get", "create"], None),
    (Place::Everywhere, "memlock.dev", "swapdevices", &["get", "list", "watch", "create", "patch", "delete"], None),
    (Place::Everywhere, "memlock.dev", "swapdevices/status", &["patch"], None),
    (Place::Everywhere, "events.k8s.io", "events", &["create", "patch"], None),
    (
        Place::Everywhere,
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["get", "patch"],
        Some("memlock-operator"),
    ),
    (Place::Own, "coordination.k8s.io", "leases", &["create"], None),
    (Place::Own, "coordination.k8s.io", "leases", &["get", "update"], Some(CONTROLLER)),
    (Place::Own, "", "secrets", &["get", "patch"], Some("memlock-operator-tls")),
];

fn full_name(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// `verb resource [name]`, as the API server lists them for an account in a namespace.
fn granted(account: &str, namespace: &str) -> BTreeSet<String> {
    let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace } });
    let who = format!("--as=system:serviceaccount:{account}");
    let groups = ["--as-group=system:serviceaccounts", "--as-group=system:authenticated"];
    let output = kubectl_with(
        &[&[who.as_str()], &groups[..], &["create", "--validate=false", "-o", "json", "-f", "-"]].concat(),
        &review,
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        let mut names = words(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for (verb, name) in words(&rule["verbs"]).iter().flat_map(|verb| names.iter().map(move |n| (verb, n))) {
                    all.insert(format!("{verb} {} {name}", full_name(&group, &resource)).trim_end().to_owned());
                }
            }
        }
    }
    all
}

fn expected(place: Place) -> BTreeSet<String> {
    let here = RULES.iter().filter(|rule| rule.0 == Place::Everywhere || place == Place::Own);
    here.flat_map(|(_, group, resource, verbs, name)| {
        let name = name.unwrap_or_default();
        verbs.iter().map(move |verb| format!("{verb} {} {name}", full_name(group, resource)).trim_end().to_owned())
    })
    .collect()
}

#[test]
fn the_api_server_grants_the_listed_rights_and_no_others() {
    let controller = format!("{SYSTEM}:{CONTROLLER}");
    for (namespace, place) in [(SYSTEM, Place::Own), ("kube-system", Place::Everywhere), ("default", Place::Everywhere)]
    {
        // What every account may do, such as asking for its own rights.
        let anybody = granted("default:default", namespace);
        let mine: BTreeSet<_> = granted(&controller, namespace).difference(&anybody).cloned().collect();
        assert_eq!(mine, expected(place), "{namespace}");
        assert_eq!(granted(&format!("{SYSTEM}:memlock-operator-webhook"), namespace), anybody, "{namespace}");
    }
}

/// Holds a table of the document to what was seen: `<!-- NAME: …` begins it, `<!-- end of NAME -->` ends it.
fn documented(name: &str, table: &str) {
    let begin = format!("<!-- {name}: written by tests/e2e/rights.rs with MEMLOCK_WRITE_DOCS=1 -->\n");
    let end = format!("<!-- end of {name} -->\n");
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(&begin).expect("the document has a place for the table");
    let (_, after) = rest.split_once(&end).expect("and its end");
    let whole = format!("{before}{begin}\n{table}\n{end}{after}");
    if env::var_os("MEMLOCK_WRITE_DOCS").is_some() {
        fs::write(DOCUMENT, &whole).unwrap();
    }
    assert_eq!(fs::read_to_string(DOCUMENT).unwrap(), whole, "run this test with MEMLOCK_WRITE_DOCS=1");
}
