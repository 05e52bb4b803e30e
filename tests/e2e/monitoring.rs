//! Alerts and dashboard, asked of a real Prometheus that reads the real processes and the real API server.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    chart::CHART,
    cluster::{Namespace, RELEASE, SYSTEM, apply, eventually, kubectl, kubectl_with, nbdkit, opted_in, run, succeed},
};

/// `kubectl proxy`, by which a process on this machine reaches API server and pods.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Something of the cluster that goes with the test.
struct Applied(&'static str, String);

impl Drop for Applied {
    fn drop(&mut self) {
        run("kubectl", &["-n", SYSTEM, "delete", self.0, &self.1]);
    }
}

/// With its address.
fn proxy() -> (Proxy, String) {
    let mut child = Command::new("kubectl").args(["proxy", "--port=0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    (Proxy(child), address)
}

fn rendered(only: &str, settings: &[&str]) -> String {
    let mut arguments = vec!["template", RELEASE, CHART, "-n", SYSTEM, "--show-only", only];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    succeed("helm", &arguments)
}

/// The groups of the `PrometheusRule`, as Prometheus itself reads them.
fn rules() -> String {
    let on = ["metrics.prometheusRule.enabled=true", "metrics.prometheusRule.renderMode=alwaysRender"];
    let text = rendered("templates/prometheus-rule.yaml", &on);
    text.split_once("\nspec:\n").unwrap().1.to_owned()
}

/// The pods behind the Service for metrics, as a `ServiceMonitor` would find them, read by way of the proxy. Debian's
/// Prometheus cannot look into a cluster itself.
fn targets(proxy: &str) -> Vec<Value> {
    let of = "kubernetes.io/service-name=memlock-operator-metrics";
    let slices: Value =
        serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "endpointslices", "-l", of, "-o", "json"])).unwrap();
    let slices = slices["items"].as_array().unwrap();
    let named = slices.iter().filter(|slice| slice["ports"][0]["name"] == "metrics");
    let endpoints =
        named.flat_map(|slice| slice["endpoints"].as_array().unwrap().iter().map(|e| (e, &slice["ports"][0]["port"])));
    let target = |(endpoint, port): (&Value, &Value)| {
        let pod = endpoint["targetRef"]["name"].as_str().unwrap();
        let path = format!("/api/v1/namespaces/{SYSTEM}/pods/{pod}:{port}/proxy/metrics");
        json!({ "targets": [proxy], "labels": { "__metrics_path__": path, "namespace": SYSTEM, "pod": pod, "instance": pod } })
    };
    endpoints.map(target).collect()
}

/// Prometheus with the chart's rules, and what it reads.
struct Prometheus {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Prometheus {
    fn start(proxy: &str, targets: &[Value]) -> Self {
        let folder = std::env::temp_dir().join(format!("memlock-e2e-prometheus-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("rules.yaml"), rules()).unwrap();
        let configuration = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s" },
            "rule_files": [folder.join("rules.yaml")],
            "scrape_configs": [
                { "job_name": "api-server", "static_configs": [{ "targets": [proxy] }] },
                { "job_name": "memlock", "static_configs": targets },
            ],
        });
        let file = folder.join("prometheus.json");
        fs::write(&file, configuration.to_string()).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .spawn()
            .expect("prometheus is on PATH: tests/cluster/cluster packages");
        Self { process, address, folder }
    }

    fn ask(&self, expression: &str) -> Vec<Value> {
        let server = format!("http://{}", self.address);
        let output = run("promtool", &["query", "instant", "-o", "json", &server, expression]);
        serde_json::from_slice::<Value>(&output.stdout).ok().and_then(|v| v.as_array().cloned()).unwrap_or_default()
    }

    /// Waits until there is an answer.
    fn answers(&self, expression: &str) -> Vec<Value> {
        eventually(expression, || {
            let found = self.ask(expression);
            if found.is_empty() { Err("no series".to_owned()) } else { Ok(found) }
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// What an expression selects: `name{matchers}`, without function and range.
fn selectors(expression: &str) -> BTreeSet<String> {
    let starts = ["memlock_", "apiserver_"].iter().flat_map(|prefix| expression.match_indices(prefix));
    let whole = |at: usize| {
        let rest = expression.get(at..).unwrap();
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let matchers = rest.get(name.len()..).unwrap().strip_prefix('{').and_then(|rest| rest.split_once('}'));
        matchers.map_or(name.clone(), |(inside, _)| format!("{name}{{{inside}}}"))
    };
    starts.map(|(at, _)| whole(at)).collect()
}

/// Two entries of a webhook that nobody serves: one refuses, one lets through.
fn failing_calls(namespace: &Namespace) -> Applied {
    let entry = |name: &str, policy: &str| {
        json!({
            "name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy, "timeoutSeconds": 1,
            "clientConfig": { "service": { "name": "nobody", "namespace": namespace.0 } },
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace.0 } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
        })
    };
    apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "e2e-monitoring" },
        "webhooks": [entry("inject-open.memlock.dev", "Ignore"), entry("inject-closed.memlock.dev", "Fail")],
    }));
    Applied("mutatingwebhookconfiguration", "e2e-monitoring".to_owned())
}

#[test]
fn every_query_of_dashboard_and_alerts_has_an_answer() {
    let file = std::env::temp_dir().join(format!("memlock-e2e-metrics-{}.yaml", std::process::id()));
    fs::write(&file, rendered("templates/metrics-service.yaml", &["metrics.service.enabled=true"])).unwrap();
    kubectl(&["apply", "-f", file.to_str().unwrap()]);
    fs::remove_file(file).unwrap();
    let _service = Applied("service", "memlock-operator-metrics".to_owned());

    let namespace = Namespace::new("monitoring");
    let _failing = failing_calls(&namespace);
    let (_proxy, address) = proxy();
    let pods: Value = serde_json::from_str(&kubectl(&["-n", SYSTEM, "get", "pods", "-o", "json"])).unwrap();
    let wanted = pods["items"].as_array().unwrap().len();
    let targets = eventually("every pod of the release behind the Service", || {
        let found = targets(&address);
        if found.len() == wanted { Ok(found) } else { Err(format!("{} of {wanted}", found.len())) }
    });
    let prometheus = Prometheus::start(&address, &targets);
    eventually("every pod of the release read", || {
        let found = prometheus.ask("up{job=\"memlock\"} == 1").len();
        if found == wanted { Ok(()) } else { Err(format!("{found} of {wanted}")) }
    });

    // Something of everything that is counted: locked, not locked, refused, calls that fail.
    for (name, arguments) in [("locked", &["--swap"][..]), ("unlocked", &[])] {
        let created = namespace.create(&nbdkit(name, &opted_in(), arguments));
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }
    let wrong = json!({ "memlock.dev/swap-device": "perhaps" });
    assert!(!namespace.create(&nbdkit("wrong", &wrong, &[])).status.success());
    eventually("a call that fails", || {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "any" } });
        let output = kubectl_with(&["-n", &namespace.0, "create", "--dry-run=server", "-f", "-"], &map);
        if output.status.success() { Err("it was created".to_owned()) } else { Ok(()) }
    });
    namespace.state("locked", "locked");
    namespace.state("unlocked", "unlocked");

    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(format!("{CHART}/files/dashboard.json")).unwrap()).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            prometheus.answers(&target["expr"].as_str().unwrap().replace("$__rate_interval", "1m"));
            queries += 1;
        }
    }
    let rules = prometheus.folder.join("rules.yaml");
    let selected = selectors(&fs::read_to_string(rules).unwrap());
    for selector in &selected {
        prometheus.answers(selector);
    }
    // The rule itself sees the pod that is not locked; its figure is the panel's.
    let alert = prometheus.answers("ALERTS{alertname=\"MemlockNotLocked\",state=\"unlocked\"}");
    assert_eq!(alert[0]["metric"]["namespace"], SYSTEM, "{alert:?}");
    let quiet = [
        "MemlockWebhookDown",
        "MemlockControllerDown",
        "MemlockWebhookNotRedundant",
        "MemlockNobodyLeads",
        "MemlockCertificateExpires",
        "MemlockCertificateRejected",
        "MemlockAuthorityNotTrusted",
    ];
    for alert in quiet {
        assert!(prometheus.ask(&format!("ALERTS{{alertname=\"{alert}\"}}")).is_empty(), "{alert}");
    }
    eprintln!("{queries} queries of the dashboard and {} selectors of the alerts have an answer", selected.len());
}
