//! What the controller's account may run.

use std::{fs, path::PathBuf, process::Output};

use memlock_operator::domain::probe::{ALLOWED, CAT};
use serde_json::json;

use super::{Rights, as_account, as_controller, refused, said};
use crate::{
    chart::CHART,
    cluster::{Namespace, eventually, kubectl, nbdkit, opted_in, run, running_id, succeed},
};

#[test]
fn the_controllers_account_runs_its_checks_and_nothing_else() {
    let namespace = Namespace::new("policy-exec");
    let created = namespace.create(&nbdkit("device", &opted_in(), &["--swap"]));
    assert!(created.status.success(), "{}", said(&created));
    namespace.state("device", "locked");
    let _rights = Rights::for_controller(
        "policy-exec",
        "get,create,update,patch",
        "pods,pods/attach,pods/portforward,pods/ephemeralcontainers,pods/proxy,nodes/proxy",
    );
    let exec = |flags: &[&str], argv: &[&str]| {
        as_controller(&[&["-n", namespace.0.as_str(), "exec", "device"], flags, &["--"], argv].concat())
    };
    let cat: &[&str] = &CAT;
    let output = exec(&[], cat);
    assert!(said(&output).contains("VmLck:"), "{}", said(&output));
    // The container has neither shell nor agent: what matters is that the runtime was asked.
    for argv in ALLOWED {
        let output = exec(&[], argv);
        assert!(!said(&output).contains("ValidatingAdmissionPolicy"), "{argv:?}: {}", said(&output));
    }

    let fixed = "may run only its own fixed checks";
    let longer = [cat, &["/proc/1/environ"]].concat();
    let shorter = cat.get(..cat.len() - 1).unwrap();
    let attempts: [&[&str]; 11] = [
        &["cat", "/proc/1/environ"],
        &longer,
        shorter,
        &["sh"],
        &["sh", "-c", "true"],
        &["nbdkit"],
        &["/memlock/memlock"],
        &["/memlock/memlock", "probe", "--help"],
        &["/memlock/memlock", "launch", "--", "sh"],
        &["/memlock/memlock-flush", "probe"],
        &["memlock", "probe"],
    ];
    for argv in attempts {
        refused("exec", fixed, || exec(&[], argv));
    }
    refused("exec", "standard input or a terminal", || exec(&["-i"], cat));

    // What kubectl asks for, without its own conditions: a terminal on this side, a port that answers.
    let pod = format!("/api/v1/namespaces/{}/pods/device", namespace.0);
    let raw = |path: &str| vec!["get".to_owned(), "--raw".to_owned(), path.to_owned()];
    let ask = |path: &str| as_controller(&raw(path).iter().map(String::as_str).collect::<Vec<_>>());
    let command = format!("&command={}", cat.join("&command="));
    refused("exec", "standard input or a terminal", || ask(&format!("{pod}/exec?stdout=true&tty=true{command}")));
    let never = "by exec and by nothing else";
    let node = kubectl(&["-n", &namespace.0, "get", "pod", "device", "-o", "jsonpath={.spec.nodeName}"]);
    for path in [
        format!("{pod}/attach?stdout=true"),
        format!("{pod}/portforward?ports=10809"),
        format!("{pod}/proxy/"),
        format!("/api/v1/nodes/{node}/proxy/pods"),
    ] {
        refused("exec", never, || ask(&path));
    }
    let debug = ["-n", &namespace.0, "debug", "device", "--image=localhost/nbdkit:1"];
    refused("exec", never, || as_controller(&debug));

    // Anybody else: an administrator is not asked.
    for flags in [&[][..], &["-i"]] {
        let argv = [&["-n", namespace.0.as_str(), "exec", "device"], flags, &["--", "cat", "/proc/1/comm"]].concat();
        assert_eq!(kubectl(&argv).trim(), "nbdkit");
    }
    let attach = run("kubectl", &["get", "--raw", &format!("{pod}/attach?stdout=true")]);
    assert!(said(&attach).contains("Upgrade request required"), "{}", said(&attach));
}

/// A chart of its own whose only argument list tries to leave its string.
struct Nasty(PathBuf, String);

impl Nasty {
    fn new(namespace: &str, argv: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("memlock-e2e-chart-{}", std::process::id()));
        succeed("cp", &["-r", CHART, folder.to_str().unwrap()]);
        fs::write(folder.join("files/exec-argv.json"), json!([argv]).to_string()).unwrap();
        let name = format!("fullnameOverride={namespace}");
        let chart = folder.to_str().unwrap();
        let only = "templates/policy-exec.yaml";
        let text = succeed("helm", &["template", "nasty", chart, "-n", namespace, "--set", &name, "--show-only", only]);
        let file = folder.join("policy.yaml");
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap().to_owned();
        kubectl(&["apply", "-f", &file]);
        Self(folder, file)
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        run("kubectl", &["delete", "-f", &self.1]);
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn an_argument_with_quotes_dollars_and_line_breaks_is_compared_as_it_is() {
    let word = "/\"a\\\" 'b' $(c) ${d} {{ .Values }} \\n \n\t# e: <f> & [g] %s \u{1} ü";
    let namespace = Namespace::new("policy-nasty");
    let account = format!("{}-controller", namespace.0);
    let _rights = Rights::new("policy-nasty", &format!("{}:{account}", namespace.0), "get,create", "pods,pods/exec");
    let _policy = Nasty::new(&namespace.0, &["cat", word]);
    let created = namespace.create(&nbdkit("device", &json!({}), &[]));
    assert!(created.status.success(), "{}", said(&created));
    eventually("a running daemon", || {
        let pod = namespace.get("device").unwrap();
        running_id(&pod).ok_or_else(|| pod["status"].to_string())
    });

    let exec =
        |word: &str| as_account(&namespace.0, &account, &["-n", &namespace.0, "exec", "device", "--", "cat", word]);
    let by_policy = |output: &Output| said(output).contains("may run only its own fixed checks");
    // The policy becomes active a moment after it is there; then only this word passes.
    eventually("the policy", || {
        let output = exec("/proc/1/comm");
        if by_policy(&output) { Ok(()) } else { Err(said(&output)) }
    });
    for wrong in [word.replace('\n', " "), word.replace('$', ""), word.replace('\\', ""), format!("{word} ")] {
        assert!(by_policy(&exec(&wrong)), "{wrong:?}: {}", said(&exec(&wrong)));
    }
    // cat has seen the word and knows no such file.
    let output = exec(word);
    assert!(said(&output).contains("No such file or directory"), "{}", said(&output));
}
