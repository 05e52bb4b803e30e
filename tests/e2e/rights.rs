//! The rights of the product's accounts: what the API server grants, what was used, and what a stolen token can do.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, process::Output};

use serde_json::{Value, json};

use crate::{
    audit,
    cluster::{Namespace, SYSTEM, eventually, kubectl, kubectl_with, nbdkit, opted_in, run, succeed},
};

const CONTROLLER: &str = "memlock-operator-controller";
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
const BEGIN: &str = "<!-- rights: written by tests/e2e/rights.rs with MEMLOCK_WRITE_DOCS=1 -->\n";
const END: &str = "<!-- end of rights -->\n";

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
    (Place::Everywhere, "", "pods", &["get", "list", "watch"], None),
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

/// Rights that no request of the product shows in a plain run of these tests.
const UNSEEN: [&str; 14] = [
    // Asked for beside `get` by newer API servers, in the same request: a test of its own below.
    "create pods/exec",
    // An event that comes again.
    "patch events.events.k8s.io",
    "get pods",
    "get swapdevices.memlock.dev",
    "list swapdevices.memlock.dev",
    "watch swapdevices.memlock.dev",
    "create swapdevices.memlock.dev",
    "patch swapdevices.memlock.dev",
    "delete swapdevices.memlock.dev",
    "patch swapdevices/status.memlock.dev",
    "create leases.coordination.k8s.io",
    "get leases.coordination.k8s.io",
    "update leases.coordination.k8s.io",
    "patch mutatingwebhookconfigurations.admissionregistration.k8s.io",
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

/// The record of the API server, without what tests ask with the account's token by kubectl.
fn requests() -> Vec<Value> {
    let by_kubectl = |event: &Value| event["userAgent"].as_str().unwrap_or_default().starts_with("kubectl");
    audit::requests().into_iter().filter(|event| !by_kubectl(event)).collect()
}

#[test]
fn every_right_is_used_and_none_is_missed() {
    let namespace = Namespace::new("rights-used");
    for (name, arguments) in [("locked", &["--swap"][..]), ("unlocked", &[])] {
        let created = namespace.create(&nbdkit(name, &opted_in(), arguments));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        namespace.state(name, name);
    }
    let granted: BTreeSet<String> = RULES
        .iter()
        .flat_map(|(_, group, resource, verbs, _)| {
            verbs.iter().map(|verb| format!("{verb} {}", full_name(group, resource)))
        })
        .collect();
    eventually("every right in the record of the API server", || {
        let used: BTreeSet<String> = requests()
            .iter()
            .map(|event| {
                let asked = &event["objectRef"];
                let [group, resource, part] =
                    ["apiGroup", "resource", "subresource"].map(|field| asked[field].as_str().unwrap_or_default());
                let resource = if part.is_empty() { resource.to_owned() } else { format!("{resource}/{part}") };
                format!("{} {}", event["verb"].as_str().unwrap(), full_name(group, &resource))
            })
            .collect();
        let unused: Vec<_> = granted.difference(&used).filter(|right| !UNSEEN.contains(&right.as_str())).collect();
        if unused.is_empty() { Ok(()) } else { Err(format!("{unused:?} unused; used: {used:?}")) }
    });
    let refused = |event: &&Value| event["annotations"]["authorization.k8s.io/decision"] == "forbid";
    let missed: Vec<_> = requests().iter().filter(refused).map(|event| event["requestURI"].clone()).collect();
    assert!(missed.is_empty(), "the product asked for what it may not have: {missed:?}");
}

/// kubectl with the account's own token and nothing else.
struct Token(Vec<String>);

impl Token {
    fn new() -> Self {
        let config: Value =
            serde_json::from_str(&kubectl(&["config", "view", "--raw", "--minify", "-o", "json"])).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let authority = env::temp_dir().join(format!("memlock-e2e-rights-{}.crt", std::process::id()));
        let data = cluster["certificate-authority-data"].as_str().unwrap();
        let encoded = authority.with_extension("b64");
        fs::write(&encoded, data).unwrap();
        fs::write(&authority, succeed("base64", &["-d", encoded.to_str().unwrap()])).unwrap();
        fs::remove_file(encoded).unwrap();
        let token = kubectl(&["-n", SYSTEM, "create", "token", CONTROLLER]);
        Self(vec![
            "--kubeconfig=/dev/null".to_owned(),
            format!("--server={}", cluster["server"].as_str().unwrap()),
            format!("--certificate-authority={}", authority.display()),
            format!("--token={}", token.trim()),
        ])
    }

    fn kubectl(&self, arguments: &[&str]) -> Output {
        let mine: Vec<&str> = self.0.iter().map(String::as_str).collect();
        run("kubectl", &[&mine[..], arguments].concat())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        for argument in &self.0 {
            if let Some(file) = argument.strip_prefix("--certificate-authority=") {
                drop(fs::remove_file(file));
            }
        }
    }
}

/// Who refuses a request, by the API server's own words.
fn answer(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    let policy =
        text.split_once("ValidatingAdmissionPolicy 'memlock-operator-").and_then(|(_, rest)| rest.split_once('\''));
    match policy {
        Some((policy, _)) => format!("refused by the policy `{policy}`"),
        None if output.status.success() => "**allowed**".to_owned(),
        None if text.contains("Forbidden") || text.contains("forbidden") => "refused: no right".to_owned(),
        None => panic!("neither allowed nor refused: {text}"),
    }
}

/// Tried with the token; POD is an annotated pod. Nothing here changes anything, even where it is allowed.
const BY_HAND: [&str; 32] = [
    "get secrets -A",
    "get secret memlock-operator-tls -n memlock-system",
    "get secrets -n memlock-system",
    "get configmaps -n kube-system",
    "get nodes",
    "get namespaces",
    "get --raw /api/v1/nodes/NODE/proxy/pods",
    "get pods -A",
    "logs POD",
    "run intruder --image=none --dry-run=server",
    "delete pod POD --dry-run=server",
    "label pod POD app=other --dry-run=server",
    "set image pod/POD nbdkit=other --dry-run=server",
    "patch pod POD --subresource=resize --dry-run=server -p {}",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f PHASE",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f LABEL",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f STATE",
    "exec POD -- cat /etc/passwd",
    "exec POD -- sh",
    "attach POD",
    "debug POD --image=none",
    "scale deployment memlock-operator-webhook -n memlock-system --replicas=0 --dry-run=server",
    "patch serviceaccount default --dry-run=server -p {\"imagePullSecrets\":[]}",
    "create token memlock-operator-controller -n memlock-system",
    "create clusterrolebinding intruder --clusterrole=cluster-admin --user=intruder --dry-run=server",
    "create rolebinding intruder -n memlock-system --clusterrole=admin --user=intruder --dry-run=server",
    "get pods --as=system:admin",
    "delete validatingadmissionpolicy memlock-operator-exec --dry-run=server",
    "delete mutatingwebhookconfiguration memlock-operator --dry-run=server",
    "get validatingwebhookconfigurations",
    "get lease other -n memlock-system",
    "patch mutatingwebhookconfiguration memlock-operator --dry-run=server --type=json -p [{\"op\":\"replace\",\"path\":\"/webhooks/0/failurePolicy\",\"value\":\"Ignore\"}]",
];

/// What the account may do by its rights and the policies let through; everything else must be refused.
const ALLOWED: [&str; 3] = ["get secret memlock-operator-tls", "get pods -A", "-f STATE"];

#[test]
fn a_stolen_token_does_what_is_listed_and_nothing_else() {
    let namespace = Namespace::new("rights-token");
    let created = namespace.create(&nbdkit("device", &opted_in(), &["--swap"]));
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let pod = namespace.state("device", "locked");
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    let token = Token::new();
    // A patch by kubectl would read the status first, for which there is no right.
    let folder = env::temp_dir().join(format!("memlock-e2e-rights-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pod = |more: Value| {
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "device" } });
        pod.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        pod.to_string()
    };
    let labelled = |key: &str, value: &str| pod(json!({ "metadata": { "name": "device", "labels": { key: value } } }));
    fs::write(folder.join("PHASE"), pod(json!({ "status": { "phase": "Failed" } }))).unwrap();
    fs::write(folder.join("LABEL"), labelled("app", "other")).unwrap();
    fs::write(folder.join("STATE"), labelled("memlock.dev/state", "unlocked")).unwrap();

    let mut table = "| with the token of the controller's account | answer |\n|---|---|\n".to_owned();
    for command in BY_HAND {
        let filled = ["PHASE", "LABEL", "STATE"]
            .iter()
            .fold(command.to_owned(), |command, name| command.replace(name, folder.join(name).to_str().unwrap()));
        let filled = filled.replace("POD", "device").replace("NODE", node);
        let mut words: Vec<&str> = filled.split(' ').collect();
        if !command.contains("-n ") && !command.contains("-A") && !command.contains("--raw") {
            words.splice(0..0, ["-n", namespace.0.as_str()]);
        }
        let answer = answer(&token.kubectl(&words));
        let allowed = ALLOWED.iter().any(|part| command.contains(part));
        assert_eq!(answer == "**allowed**", allowed, "{command}: {answer}");
        writeln!(table, "| `kubectl {}` | {answer} |", command.replace('|', "\\|")).unwrap();
    }

    fs::remove_dir_all(folder).unwrap();

    let text = fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the document has a place for the table");
    let (_, after) = rest.split_once(END).expect("and its end");
    let whole = format!("{before}{BEGIN}\n{table}\n{END}{after}");
    if env::var_os("MEMLOCK_WRITE_DOCS").is_some() {
        fs::write(DOCUMENT, &whole).unwrap();
    }
    assert_eq!(fs::read_to_string(DOCUMENT).unwrap(), whole, "run this test with MEMLOCK_WRITE_DOCS=1");
}
