//! Every verb on every resource that the API server has, asked for the product's accounts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use futures::{StreamExt, future, stream};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use memlock_operator::platform::client::connect;

use super::{CONTROLLER, Place, RULES, documented, full_name};
use crate::cluster::SYSTEM;

const VERBS: [&str; 9] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*"];
/// Verbs that are rights and no requests, and what they are about.
const SPECIAL: [(&str, &str, &str); 13] = [
    ("impersonate", "", "users"),
    ("impersonate", "", "groups"),
    ("impersonate", "", "serviceaccounts"),
    ("impersonate", "authentication.k8s.io", "uids"),
    ("impersonate", "authentication.k8s.io", "userextras"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles"),
    ("bind", "rbac.authorization.k8s.io", "roles"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("escalate", "rbac.authorization.k8s.io", "roles"),
    ("approve", "certificates.k8s.io", "signers"),
    ("sign", "certificates.k8s.io", "signers"),
    ("attest", "certificates.k8s.io", "signers"),
    ("*", "*", "*"),
];
const PATHS: [&str; 9] =
    ["*", "/", "/api", "/apis", "/metrics", "/logs", "/debug/pprof", "/healthz", "/openid/v1/jwks"];
/// Where each is asked: namespace, name; empty: all.
const PLACES: [(&str, &str); 7] = [
    ("", ""),
    ("default", ""),
    (SYSTEM, ""),
    (SYSTEM, CONTROLLER),
    (SYSTEM, "memlock-operator-tls"),
    (SYSTEM, "memlock-operator"),
    ("", "memlock-operator"),
];
const AT_ONCE: usize = 16;

/// `resource.group/subresource` of everything that there is.
async fn resources(client: &Client) -> BTreeSet<(String, String)> {
    let mut lists = vec![(String::new(), client.list_core_api_resources("v1").await.unwrap())];
    for group in client.list_api_groups().await.unwrap().groups {
        for version in group.versions {
            lists.push((group.name.clone(), client.list_api_group_resources(&version.group_version).await.unwrap()));
        }
    }
    lists
        .into_iter()
        .flat_map(|(group, list)| list.resources.into_iter().map(move |r| (group.clone(), r.name)))
        .collect()
}

/// Verb, group, resource, place.
type Question = (String, String, String, (&'static str, &'static str));

async fn questions(client: &Client) -> Vec<Question> {
    let mut all = Vec::new();
    for (group, resource) in resources(client).await {
        for verb in VERBS {
            all.extend(PLACES.map(|place| (verb.to_owned(), group.clone(), resource.clone(), place)));
        }
    }
    for (verb, group, resource) in SPECIAL {
        all.extend(PLACES.map(|place| (verb.to_owned(), group.to_owned(), resource.to_owned(), place)));
    }
    all
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

async fn may(client: &Client, account: &str, asked: impl FnOnce(&mut SubjectAccessReviewSpec)) -> bool {
    let (namespace, _) = account.split_once(':').unwrap();
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    let user = Some(format!("system:serviceaccount:{account}"));
    let mut review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec { user, groups: Some(groups.to_vec()), ..SubjectAccessReviewSpec::default() },
        ..SubjectAccessReview::default()
    };
    asked(&mut review.spec);
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

/// What the account may do, of all that.
async fn allowed(client: &Client, account: &str, questions: &[Question]) -> BTreeSet<Question> {
    let answers = stream::iter(questions).map(|question| async move {
        let (verb, group, resource, (namespace, name)) = question.clone();
        let (resource, below) = resource.split_once('/').unwrap_or((&resource, ""));
        let attributes = ResourceAttributes {
            verb: Some(verb),
            group: Some(group),
            resource: Some(resource.to_owned()),
            subresource: filled(below),
            namespace: filled(namespace),
            name: filled(name),
            ..ResourceAttributes::default()
        };
        may(client, account, |spec| spec.resource_attributes = Some(attributes)).await.then(|| question.clone())
    });
    answers.buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await
}

async fn allowed_paths(client: &Client, account: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (path, verb) in PATHS.iter().flat_map(|path| ["get", "post", "*"].map(|verb| (*path, verb))) {
        let attributes = NonResourceAttributes { path: filled(path), verb: filled(verb) };
        if may(client, account, |spec| spec.non_resource_attributes = Some(attributes)).await {
            found.insert((path.to_owned(), verb.to_owned()));
        }
    }
    found
}

/// Whether a rule of the list grants it.
fn is_listed((verb, group, resource, (namespace, name)): &Question) -> bool {
    RULES.iter().any(|(place, its_group, its_resource, verbs, its_name)| {
        (its_group, its_resource) == (&group.as_str(), &resource.as_str())
            && verbs.contains(&verb.as_str())
            && (*place == Place::Everywhere || *namespace == SYSTEM)
            && its_name.is_none_or(|its_name| its_name == *name)
    })
}

/// In the words of the document: the widest place of each.
fn table(found: &BTreeSet<Question>) -> String {
    let mut rows: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for (verb, group, resource, (namespace, name)) in found {
        let wider = PLACES.iter().any(|(space, only)| {
            let covers = (space.is_empty() || space == namespace) && (only.is_empty() || only == name);
            covers
                && (space, only) != (namespace, name)
                && found.contains(&(verb.clone(), group.clone(), resource.clone(), (*space, *only)))
        });
        if !wider {
            let space = if namespace.is_empty() { "everywhere".to_owned() } else { format!("in `{namespace}`") };
            let place = if name.is_empty() { space } else { format!("{space}, `{name}` alone") };
            rows.entry((full_name(group, resource), place)).or_default().insert(verb);
        }
    }
    let mut table = "| resource | where | verbs |\n|---|---|---|\n".to_owned();
    for ((resource, place), verbs) in rows {
        let verbs: Vec<_> = VERBS.iter().copied().filter(|verb| verbs.contains(verb)).collect();
        writeln!(table, "| `{resource}` | {place} | {} |", verbs.join(", ")).unwrap();
    }
    table
}

#[tokio::test]
async fn of_all_verbs_on_all_resources_the_accounts_have_those_of_the_list() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = connect().await.unwrap();
    let questions = questions(&client).await;
    let kinds: BTreeSet<_> = questions.iter().map(|(_, group, resource, _)| (group, resource)).collect();
    eprintln!("{} questions about {} resources for each account", questions.len(), kinds.len());
    assert!(kinds.len() > 100 && kinds.contains(&(&String::new(), &"pods/exec".to_owned())), "{kinds:?}");

    let (controller, webhook) = (format!("{SYSTEM}:{CONTROLLER}"), format!("{SYSTEM}:memlock-operator-webhook"));
    let anybody = allowed(&client, "default:default", &questions).await;
    assert_eq!(allowed(&client, &webhook, &questions).await, anybody, "the webhook has no rights");
    let found = &allowed(&client, &controller, &questions).await - &anybody;
    let listed: BTreeSet<_> = questions.iter().filter(|question| is_listed(question)).cloned().collect();
    let [unlisted, lacking] = [&found - &listed, &listed - &found];
    assert!(unlisted.is_empty() && lacking.is_empty(), "not in the list: {unlisted:?}; not granted: {lacking:?}");
    let paths = allowed_paths(&client, "default:default").await;
    for account in [&controller, &webhook] {
        assert_eq!(allowed_paths(&client, account).await, paths, "no path of its own");
    }
    documented("sweep", &table(&found));
}
