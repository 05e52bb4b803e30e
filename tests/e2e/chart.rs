//! Helm on the real API server. Run by itself, after the others: it uninstalls what they use.

mod certificates;

use std::{env, fs, path::PathBuf, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cluster::{
    Namespace, RELEASE, SYSTEM, condition, create_locking, eventually_within, full, kubectl, label, nbdkit, opted_in,
    reached, run, succeed,
};

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/memlock-operator");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// A commit whose chart users may have: no definition of `SwapDevice`, no disruption budget, fewer policies.
const EARLIER: &str = "caaa59896e99";

/// A version of Helm, and the values of every install: the image on the node.
struct Helm {
    program: String,
    values: Vec<String>,
}

impl Helm {
    fn new(program: String) -> Self {
        let reference = fs::read_to_string(format!("{ROOT}/target/images/ref")).expect("images/operator was run");
        Self { program, values: image(&reference) }
    }

    fn four() -> Self {
        Self::new("helm".to_owned())
    }

    fn three() -> Self {
        Self::new(format!("{}/helm", succeed(&format!("{ROOT}/tests/helm3/build"), &[]).trim()))
    }

    fn run(&self, arguments: &[&str]) -> String {
        succeed(&self.program, &[arguments, &["-n", SYSTEM]].concat())
    }

    fn apply(&self, chart: &str, more: &[&str]) {
        let values = self.values.iter().map(String::as_str);
        self.install(chart, &values.chain(more.iter().copied()).collect::<Vec<_>>());
    }

    /// Waits for the pods.
    fn install(&self, chart: &str, values: &[&str]) {
        let mut arguments =
            vec!["upgrade", "--install", RELEASE, chart, "--create-namespace", "--wait", "--timeout", "90s"];
        arguments.extend(values);
        let told = self.run(&arguments);
        assert!(told.contains("STATUS: deployed"), "{}: {told}", self.program);
    }

    fn uninstall(&self) {
        self.run(&["uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "90s"]);
        nothing_is_left();
        // One that a controller made anew would not carry the release's label, and the next install would refuse it.
        let leases = ["-n", SYSTEM, "get", "leases.coordination.k8s.io", "-o", "name"];
        assert_eq!(kubectl(&leases).trim(), "", "made again during the uninstall");
    }
}

/// Options of helm that name an image.
fn image(reference: &str) -> Vec<String> {
    let (repository, tag) = reference.trim().rsplit_once(':').unwrap();
    let (registry, repository) = repository.split_once('/').unwrap();
    let values =
        [format!("image.registry={registry}"), format!("image.repository={repository}"), format!("image.tag={tag}")];
    values.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
}

/// What the earlier chart is installed with: its own image, which takes minutes to compile, or else today's.
fn earlier_values(helm: &Helm) -> Vec<String> {
    if full() {
        let built = succeed(&format!("{ROOT}/tests/e2e/earlier-image"), &[EARLIER]);
        let (archive, reference) = built.trim().split_once('\n').unwrap();
        succeed(&format!("{ROOT}/tests/cluster/cluster"), &["load", archive]);
        return image(reference);
    }
    let lease = ["name=MEMLOCK_LEASE", "value=memlock-operator-controller"];
    // That chart does not name the lease that the image asks for.
    let lease = lease.iter().flat_map(|part| ["--set".to_owned(), format!("controller.extraEnv[0].{part}")]);
    helm.values.iter().cloned().chain(lease).collect()
}

/// Under the earlier chart, which has no Lease, today's image made one for itself: it becomes the release's. An image of that
/// time makes none.
fn adopt_the_lease() {
    if full() {
        return;
    }
    let lease = ["lease", "memlock-operator-controller", "--overwrite"];
    let owned = |verb: &str, marks: &[&str]| kubectl(&[&["-n", SYSTEM, verb], &lease[..], marks].concat());
    owned("label", &["app.kubernetes.io/managed-by=Helm"]);
    let [release, namespace] =
        [("name", RELEASE), ("namespace", SYSTEM)].map(|(key, value)| format!("meta.helm.sh/release-{key}={value}"));
    owned("annotate", &[&release, &namespace]);
}

/// The chart of a commit, in a folder of its own.
struct Checkout(PathBuf);

impl Checkout {
    fn new(commit: &str) -> Self {
        let folder = env::temp_dir().join(format!("memlock-e2e-{commit}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let archive = folder.join("chart.tar");
        let (output, into) = (format!("--output={}", archive.display()), folder.to_str().unwrap());
        succeed("git", &["-C", ROOT, "archive", &output, commit, "charts/memlock-operator"]);
        succeed("tar", &["-x", "-f", archive.to_str().unwrap(), "-C", into]);
        Self(folder)
    }

    fn chart(&self) -> String {
        self.0.join("charts/memlock-operator").to_str().unwrap().to_owned()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn nothing_is_left() {
    let kinds = kubectl(&["api-resources", "--verbs=list", "-o", "name"]);
    // Events are a log of the past and go by themselves.
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
    // The webhook's pods drain for some seconds after helm is done, and the kubelet takes up to two minutes to let go of a pod
    // whose volumes went before it had mounted them.
    eventually_within(Duration::from_mins(3), "nothing left", || {
        let labelled = format!("app.kubernetes.io/instance={RELEASE}");
        // A kind that goes with the release may still be listed here.
        let output =
            run("kubectl", &["get", &kinds.join(","), "-A", "-o", "name", "-l", &labelled, "--ignore-not-found"]);
        let [left, said] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        if left.trim().is_empty() && output.status.success() { Ok(()) } else { Err(left + &said) }
    });
}

fn every_entry_has_its_authorities() {
    let fields = "jsonpath={.webhooks[*].clientConfig.caBundle}";
    let bundles = kubectl(&["get", "mutatingwebhookconfiguration", "memlock-operator", "-o", fields]);
    assert_eq!(bundles.split_whitespace().count(), 4, "an upgrade must not take a caBundle");
}

/// Uid and restarts of a pod: the same as long as nobody touches it.
fn identity(namespace: &Namespace, name: &str) -> (Value, Value) {
    let pod = namespace.get(name).unwrap();
    (pod["metadata"]["uid"].clone(), pod["status"]["containerStatuses"][0]["restartCount"].clone())
}

/// A release with a locked pod: the earlier chart installed by one helm, this chart by another.
struct Upgraded {
    namespace: Namespace,
    before: (Value, Value),
}

impl Upgraded {
    fn new(name: &str, first: &Helm, then: &Helm) -> Self {
        let earlier = Checkout::new(EARLIER);
        let namespace = Namespace::new(name);
        let values = earlier_values(first);
        first.install(&earlier.chart(), &values.iter().map(String::as_str).collect::<Vec<_>>());
        reached(&namespace.0);
        create_locking(&namespace, "installed");
        namespace.state("installed", "locked");
        let before = identity(&namespace, "installed");
        adopt_the_lease();
        then.apply(CHART, &[]);
        every_entry_has_its_authorities();
        create_locking(&namespace, "upgraded");
        namespace.state("upgraded", "locked");
        Self { namespace, before }
    }

    fn uninstall(self, helm: &Helm) {
        helm.uninstall();
        create_locking(&self.namespace, "uninstalled");
        assert_eq!(identity(&self.namespace, "installed"), self.before, "a pod that ran goes on running");
        assert_eq!(label(&self.namespace.get("uninstalled").unwrap()), None, "nobody is there");
    }
}

fn life(name: &str, helm: &Helm) {
    let release = Upgraded::new(name, helm, helm);
    // Entries of the webhook configuration change their selectors and come to no conflict with the controller's field.
    let exempt =
        ["--set", "podSecurity.defaultLevel=baseline", "--set", "podSecurity.exemptNamespaces={storage,backup}"];
    helm.apply(CHART, &exempt);
    helm.apply(CHART, &[]);
    every_entry_has_its_authorities();
    let told = helm.run(&["test", RELEASE]);
    assert!(told.contains("Phase:          Succeeded"), "{told}");

    helm.run(&["rollback", RELEASE, "1", "--wait", "--timeout", "90s"]);
    every_entry_has_its_authorities();
    reached(&release.namespace.0);
    create_locking(&release.namespace, "rolled-back");
    release.namespace.state("rolled-back", "locked");
    adopt_the_lease();
    helm.apply(CHART, &[]);
    every_entry_has_its_authorities();
    release.uninstall(helm);
}

#[test]
fn helm_3_and_helm_4_install_upgrade_roll_back_and_uninstall() {
    let (three, four) = (Helm::three(), Helm::four());
    four.uninstall();
    life("helm-3", &three);
    life("helm-4", &four);
    Upgraded::new("helm-3-to-4", &three, &four).uninstall(&four);
}

#[test]
fn manifests_install_without_helm() {
    Helm::four().uninstall();
    kubectl(&["delete", "namespace", SYSTEM, "--ignore-not-found"]);
    let text = fs::read_to_string(format!("{ROOT}/manifests/memlock-operator.yaml")).unwrap();
    let reference = fs::read_to_string(format!("{ROOT}/target/images/ref")).unwrap();
    let file = env::temp_dir().join(format!("memlock-e2e-manifests-{}.yaml", std::process::id()));
    let image = format!("memlock-operator:{}", env!("CARGO_PKG_VERSION"));
    fs::write(&file, text.replace(&image, reference.trim())).unwrap();
    let path = file.to_str().unwrap();
    // Every field must be known to the API server.
    kubectl(&["apply", "--server-side", "--validate=strict", "-f", path]);
    for part in ["webhook", "controller"] {
        let deployment = format!("deployment/memlock-operator-{part}");
        kubectl(&["-n", SYSTEM, "rollout", "status", &deployment, "--timeout=90s"]);
    }
    reached("default");
    let namespace = Namespace::new("manifests");
    create_locking(&namespace, "device");
    namespace.state("device", "locked");
    // Once more, as an upgrade would: nothing is in conflict with what the controller owns.
    kubectl(&["apply", "--server-side", "--validate=strict", "-f", path]);
    every_entry_has_its_authorities();
    kubectl(&["delete", "-f", path]);
    fs::remove_file(file).unwrap();
    nothing_is_left();
}

#[test]
fn named_namespaces_are_served_alone() {
    let helm = Helm::four();
    helm.uninstall();
    let (served, other) = (Namespace::new("served"), Namespace::new("other"));
    let named = format!("namespaces={{{},e2e-later}}", served.0);
    // A namespace that is not there yet has no place for its Role.
    let refused = run(&helm.program, &["install", RELEASE, CHART, "-n", SYSTEM, "--create-namespace", "--set", &named]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("e2e-later"), "{refused:?}");
    helm.uninstall();
    let named = format!("namespaces={{{}}}", served.0);
    helm.apply(CHART, &["--set", &named]);
    reached(&served.0);
    create_locking(&served, "device");
    served.state("device", "locked");
    helm.run(&["test", RELEASE]);
    create_locking(&other, "device");
    let added = other.get("device").unwrap()["spec"]["containers"][0]["securityContext"]["capabilities"].clone();
    assert_eq!(added, json!(null), "nobody acts elsewhere");
    let account = format!("--as=system:serviceaccount:{SYSTEM}:memlock-operator-controller");
    for right in [["list", "pods", ""], ["create", "pods", "exec"], ["patch", "pods", "status"]] {
        let can = |namespace: &str| {
            let part = format!("--subresource={}", right[2]);
            let asked = ["auth", "can-i", right[0], right[1], &part, "-n", namespace, account.as_str()];
            String::from_utf8_lossy(&run("kubectl", &asked).stdout).trim().to_owned()
        };
        assert_eq!((can(&served.0).as_str(), can(&other.0).as_str()), ("yes", "no"), "{right:?}");
    }
    helm.uninstall();
}

#[test]
fn a_pod_from_before_the_install_is_found_and_told_so() {
    /// Of the start of the first controller; the API keeps whole seconds.
    const FOUND: SignedDuration = SignedDuration::from_secs(5);
    let helm = Helm::four();
    helm.uninstall();
    let namespace = Namespace::new("before");
    let output = namespace.create(&nbdkit("device", &opted_in(), &[]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    kubectl(&["-n", &namespace.0, "wait", "--for=condition=Ready", "pod/device", "--timeout=60s"]);
    helm.apply(CHART, &[]);
    let said = condition(&namespace.state("device", "unlocked"));
    assert!(said["message"].as_str().unwrap().contains("the webhook has not changed this pod"), "{said}");
    let selector = "app.kubernetes.io/component=controller";
    let started = "jsonpath={.items[*].status.containerStatuses[0].state.running.startedAt}";
    let started = kubectl(&["-n", SYSTEM, "get", "pods", "-l", selector, "-o", started]);
    let first = started.split_whitespace().map(|time| time.parse::<Timestamp>().unwrap()).min().unwrap();
    let told: Timestamp = said["lastTransitionTime"].as_str().unwrap().parse().unwrap();
    eprintln!("a pod from before the install: told {:#} after the controller started", told.duration_since(first));
    assert!(told.duration_since(first) <= FOUND, "{first} {told}");
    helm.uninstall();
}
