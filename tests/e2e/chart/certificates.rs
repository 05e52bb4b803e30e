//! The other ways to come by a certificate, on the real API server, and the very first start of all.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{CHART, Helm, every_entry_has_its_authorities};
use crate::{
    audit,
    availability::{Watched, served_until, webhook_pods},
    cluster::{
        Namespace, SYSTEM, apply, create_locking, eventually, eventually_within, kubectl, kubectl_with, nbdkit,
        opted_in, run, succeed,
    },
};

const SECRET: &str = "e2e-pair";
const NAMES: &str = "subjectAltName=DNS:memlock-operator-webhook.memlock-system.svc";

/// An authority of somebody else, with an intermediate one, made by openssl in a folder of its own.
struct Authority(PathBuf);

impl Authority {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("memlock-e2e-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let authority = Self(folder);
        let is_authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";
        authority.sign("root", name, is_authority, 365, None);
        authority.sign("middle", &format!("{name} intermediate"), is_authority, 300, Some("root"));
        authority
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    /// `WHAT.crt` and `WHAT.key`.
    fn sign(&self, what: &str, subject: &str, extensions: &str, days: u32, by: Option<&str>) {
        let [key, request, certificate] = ["key", "csr", "crt"].map(|end| self.file(&format!("{what}.{end}")));
        let (subject, days, more) = (format!("/CN={subject}"), days.to_string(), self.file("extensions"));
        let identifiers = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n";
        fs::write(&more, format!("{identifiers}{extensions}")).unwrap();
        let curve = "ec_paramgen_curve:P-256";
        let made = ["req", "-new", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-subj", &subject];
        succeed("openssl", &[&made[..], &["-keyout", &key, "-out", &request]].concat());
        let signed = ["x509", "-req", "-in", &request, "-out", &certificate, "-days", &days, "-extfile", &more];
        match by.map(|by| [self.file(&format!("{by}.crt")), self.file(&format!("{by}.key"))]) {
            Some([above, its_key]) => succeed("openssl", &[&signed[..], &["-CA", &above, "-CAkey", &its_key]].concat()),
            None => succeed("openssl", &[&signed[..], &["-signkey", &key]].concat()),
        };
    }

    /// Puts a new leaf, below the intermediate, into the Secret together with the root. Gives its end, in Unix time.
    fn issue(&self, secret: &str, days: u32) -> i64 {
        let usage = format!("keyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n{NAMES}\n");
        self.sign("leaf", "leaf", &usage, days, Some("middle"));
        let chain = self.read("leaf.crt") + &self.read("middle.crt");
        apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": secret, "namespace": SYSTEM },
            "stringData": { "tls.crt": chain, "tls.key": self.read("leaf.key"), "ca.crt": self.read("root.crt") },
        }));
        let end =
            succeed("openssl", &["x509", "-in", &self.file("leaf.crt"), "-noout", "-enddate", "-dateopt", "iso_8601"]);
        let end = end.trim().trim_start_matches("notAfter=").replace(' ', "T");
        end.parse::<Timestamp>().unwrap().as_second()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A Secret that goes with the test.
struct Secret(&'static str);

impl Drop for Secret {
    fn drop(&mut self) {
        run("kubectl", &["-n", SYSTEM, "delete", "secret", self.0, "--ignore-not-found"]);
    }
}

/// An uninstalled release, and its namespace.
fn nothing_installed() -> Helm {
    let helm = Helm::four();
    helm.uninstall();
    run("kubectl", &["create", "namespace", SYSTEM]);
    helm
}

/// The API server learns of endpoints and of `caBundle` a moment later.
fn admitted(namespace: &Namespace, name: &str) {
    eventually("an admission", || {
        let output = namespace.create(&nbdkit(name, &opted_in(), &["--swap"]));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    });
}

/// Waits until every webhook pod serves the certificate that ends then. The kubelet looks at a pod's mounts about once a
/// minute, or when the pod changes.
fn served(end: i64) {
    let start = Instant::now();
    eventually_within(Duration::from_mins(2), "the new certificate in every pod", || {
        let mark = format!("e2e/tick={}", start.elapsed().as_millis());
        for pod in webhook_pods() {
            run("kubectl", &["-n", SYSTEM, "annotate", "pod", &pod, "--overwrite", &mark]);
            if served_until(&pod) != Some(end) {
                return Err(pod);
            }
        }
        Ok(())
    });
    eprintln!("every webhook pod serves the new certificate after {:.1} s", start.elapsed().as_secs_f64());
}

#[test]
fn certificates_of_somebody_else_are_rotated_and_nobody_notices() {
    let helm = nothing_installed();
    let (one, other, _secret) = (Authority::new("one"), Authority::new("other"), Secret(SECRET));
    let first = one.issue(SECRET, 30);
    let given = ["--set", "certificates.mode=existingSecret", "--set", "certificates.existingSecret=e2e-pair"];
    helm.apply(CHART, &given);
    every_entry_has_its_authorities();
    served(first);

    let namespace = Namespace::new("existing-secret");
    let watched = Watched::new(&namespace);
    served(one.issue(SECRET, 31));
    // Authority and certificate in one write: nobody but the webhook can give the other side time.
    served(other.issue(SECRET, 32));
    served(one.issue(SECRET, 33));
    watched.end();
    create_locking(&namespace, "device");
    namespace.state("device", "locked");
    helm.uninstall();
}

#[test]
fn where_a_bundle_is_given_the_controller_writes_none() {
    let helm = nothing_installed();
    let (one, other, _secret) = (Authority::new("given"), Authority::new("later"), Secret(SECRET));
    let first = one.issue(SECRET, 30);
    let bundle = |pem: String| {
        let file = one.file("bundle");
        fs::write(&file, pem).unwrap();
        format!("certificates.caBundle={file}")
    };
    let give = |pem: String| {
        let given = bundle(pem);
        helm.apply(
            CHART,
            &[
                &["--set", "certificates.mode=existingSecret", "--set", "certificates.existingSecret=e2e-pair"][..],
                &["--set", "certificates.manageCABundle=false", "--set-file", &given],
            ]
            .concat(),
        );
    };
    give(one.read("root.crt"));
    served(first);

    let namespace = Namespace::new("gitops");
    let watched = Watched::new(&namespace);
    let since = watched.since;
    give(other.read("root.crt") + &one.read("root.crt"));
    served(other.issue(SECRET, 31));
    give(other.read("root.crt"));
    watched.end();
    create_locking(&namespace, "device");
    namespace.state("device", "locked");
    let wrote = |event: &&Value| {
        let at: Timestamp = event["requestReceivedTimestamp"].as_str().unwrap().parse().unwrap();
        at >= since && event["verb"] == "patch" && event["objectRef"]["resource"] == "mutatingwebhookconfigurations"
    };
    assert_eq!(audit::requests().iter().find(wrote), None, "the field is not the controller's");
    helm.uninstall();
}

/// What cert-manager would do, done by hand: its kinds are there, its Secret is filled, its cainjector has written.
#[test]
fn what_cert_manager_makes_is_taken() {
    let helm = nothing_installed();
    let (authority, _secret) = (Authority::new("cert-manager"), Secret("memlock-operator-tls"));
    for (kind, plural) in [("Certificate", "certificates"), ("Issuer", "issuers")] {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        apply(&json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.cert-manager.io") },
            "spec": {
                "group": "cert-manager.io", "scope": "Namespaced", "names": { "kind": kind, "plural": plural },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
            },
        }));
    }
    let kinds = ["crd/certificates.cert-manager.io", "crd/issuers.cert-manager.io"];
    kubectl(&[&["wait", "--for=condition=Established", "--timeout=30s"], &kinds[..]].concat());
    let end = authority.issue("memlock-operator-tls", 30);
    let given = ["--set", "certificates.mode=certManager", "--set", "certificates.manageCABundle=false"];
    helm.apply(CHART, &given);
    served(end);
    let configuration = kubectl(&["get", "mutatingwebhookconfiguration", "memlock-operator", "-o", "json"]);
    let mut configuration: Value = serde_json::from_str(&configuration).unwrap();
    let told = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str().unwrap();
    assert_eq!(told, "memlock-system/memlock-operator-tls");
    let bundle = succeed("base64", &["-w0", &authority.file("root.crt")]);
    for entry in configuration["webhooks"].as_array_mut().unwrap() {
        entry["clientConfig"]["caBundle"] = json!(bundle);
    }
    let replaced = kubectl_with(&["replace", "--field-manager=cainjector", "-f", "-"], &configuration);
    assert!(replaced.status.success(), "{}", String::from_utf8_lossy(&replaced.stderr));
    let namespace = Namespace::new("cert-manager");
    admitted(&namespace, "device");
    namespace.state("device", "locked");
    // An upgrade takes nothing away that cainjector wrote.
    helm.apply(CHART, &[&given[..], &["--set", "webhook.podLabels.round=two"]].concat());
    every_entry_has_its_authorities();
    helm.uninstall();
    kubectl(&[&["delete"], &kinds[..]].concat());
}

/// Uid, restarts and readiness of each webhook pod.
fn pods() -> Vec<(String, i64, bool)> {
    let found = kubectl(&["-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=webhook", "-o", "json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let one = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let restarts = status["restartCount"].as_i64().unwrap_or_default();
        (pod["metadata"]["uid"].as_str().unwrap().to_owned(), restarts, status["ready"] == true)
    };
    let mut all: Vec<_> = found["items"].as_array().unwrap().iter().map(one).collect();
    all.sort();
    all
}

#[test]
fn the_first_pods_wait_for_the_first_certificate() {
    let helm = nothing_installed();
    let values: Vec<&str> = helm.values.iter().map(String::as_str).collect();
    let install = ["upgrade", "--install", "memlock", CHART, "--set"];
    helm.run(&[&install[..], &["controller.replicas=0"], &values].concat());
    eventually("two webhook pods that wait for the Secret to be filled", || {
        let said = kubectl(&["-n", SYSTEM, "get", "events", "--field-selector=reason=FailedMount", "-o", "name"]);
        let pods = pods();
        if pods.len() == 2 && said.lines().count() > 1 { Ok(()) } else { Err(format!("{pods:?}: {said}")) }
    });
    let waiting = pods();
    assert!(waiting.iter().all(|(_, restarts, ready)| *restarts == 0 && !ready), "{waiting:?}");
    let namespace = Namespace::new("first");
    let early = namespace.create(&nbdkit("device", &opted_in(), &["--swap"]));
    assert!(!early.status.success(), "an annotated pod is refused until then");

    let start = Instant::now();
    helm.run(&[&install[..], &["controller.replicas=2"], &values].concat());
    let now = eventually("both ready", || {
        let pods = pods();
        if pods.iter().all(|(_, _, ready)| *ready) { Ok(pods) } else { Err(format!("{pods:?}")) }
    });
    eprintln!("ready {:.1} s after the first controller was asked for", start.elapsed().as_secs_f64());
    let same: Vec<_> = waiting.iter().map(|(uid, restarts, _)| (uid.clone(), *restarts, true)).collect();
    assert_eq!(now, same, "the same pods, without a restart");
    admitted(&namespace, "device");
    namespace.state("device", "locked");
    helm.uninstall();
}
