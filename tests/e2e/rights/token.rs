//! What a stolen token can do, tried with kubectl.

use std::{env, fmt::Write as _, fs, process::Output};

use serde_json::{Value, json};

use super::{CONTROLLER, documented};
use crate::cluster::{Namespace, SYSTEM, kubectl, minor, nbdkit, opted_in, run, succeed};

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
const BY_HAND: [&str; 33] = [
    "get secrets -A",
    "get secret memlock-operator-tls -n memlock-system",
    "get secrets -n memlock-system",
    "get configmaps -n kube-system",
    "get nodes",
    "get namespaces",
    "get --raw /api/v1/nodes/NODE/proxy/pods",
    "get pods -A",
    "get pod POD",
    "logs POD",
    "run intruder --image=none --dry-run=server",
    "delete pod POD --dry-run=server",
    "label pod POD app=other --dry-run=server",
    "set image pod/POD nbdkit=other --dry-run=server",
    "patch pod POD --subresource=resize --dry-run=server -p {}",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f PHASE",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f LABEL",
    "apply --server-side --force-conflicts --subresource=status --dry-run=server -f STATE",
    "get --raw /api/v1/namespaces/NAMESPACE/pods/POD/exec?stdout=true&command=cat&command=/etc/passwd",
    "get --raw /api/v1/namespaces/NAMESPACE/pods/POD/exec?stdout=true&command=sh",
    "attach POD",
    "debug POD --image=none",
    "patch deployment memlock-operator-webhook -n memlock-system --subresource=scale --dry-run=server -p {\"spec\":{\"replicas\":0}}",
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
    // Pods are resized by a subresource since 1.32, and kubectl 1.30 applies none.
    let all = minor() >= 32;
    let known = |command: &&str| all || !(command.contains("resize") || command.starts_with("apply"));
    for command in BY_HAND.into_iter().filter(known) {
        let filled = ["PHASE", "LABEL", "STATE"]
            .iter()
            .fold(command.to_owned(), |command, name| command.replace(name, folder.join(name).to_str().unwrap()));
        let filled = filled.replace("NAMESPACE", &namespace.0).replace("POD", "device").replace("NODE", node);
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
    if all {
        documented("rights", &table);
    }
}
