//! The chart's admission policies, seen by the accounts that they are about.
//!
//! The controller at work in all other tests is held by them too: what it needs is allowed.

mod configuration;
mod exec;
mod final_state;
mod misplaced;
mod status;

use std::process::Output;

use serde_json::{Value, json};

use crate::cluster::{Namespace, RELEASE, SYSTEM, eventually, kubectl, kubectl_with, run};

const CONTROLLER: &str = "memlock-operator-controller";

/// Rights that an account has for the time of a test, so that the policy refuses and not the lack of a right.
struct Rights(String);

impl Rights {
    fn new(name: &str, account: &str, verbs: &str, resources: &str) -> Self {
        let name = format!("e2e-{name}");
        kubectl(&["create", "clusterrole", &name, "--verb", verbs, "--resource", resources]);
        let (role, account) = (format!("--clusterrole={name}"), format!("--serviceaccount={account}"));
        kubectl(&["create", "clusterrolebinding", &name, &role, &account]);
        Self(name)
    }

    /// More than the chart gives to the controller's account.
    fn for_controller(name: &str, verbs: &str, resources: &str) -> Self {
        Self::new(name, &format!("{SYSTEM}:{CONTROLLER}"), verbs, resources)
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        run("kubectl", &["delete", "clusterrolebinding,clusterrole", &self.0]);
    }
}

fn as_account(namespace: &str, account: &str, arguments: &[&str]) -> Output {
    let who = format!("--as=system:serviceaccount:{namespace}:{account}");
    run("kubectl", &[&[who.as_str()], arguments].concat())
}

fn as_controller(arguments: &[&str]) -> Output {
    as_account(SYSTEM, CONTROLLER, arguments)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// Refused by this policy, with these words; a right that is still on its way is waited for.
fn refused(policy: &str, words: &str, mut attempt: impl FnMut() -> Output) {
    let answer = eventually("an answer of the policy", || {
        let output = attempt();
        let text = said(&output);
        if text.contains("cannot ") && text.contains(" resource ") { Err(text) } else { Ok((output, text)) }
    });
    let (output, text) = answer;
    assert!(!output.status.success(), "must be refused: {text}");
    let who = format!("ValidatingAdmissionPolicy 'memlock-operator-{policy}'");
    assert!(text.contains(&who) && text.contains(words), "{policy}, {words}: {text}");
}

fn passes(mut attempt: impl FnMut() -> Output) -> String {
    eventually("an answer", || {
        let output = attempt();
        if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
    })
}

fn dry_run(namespace: &Namespace, manifest: &Value) -> Output {
    kubectl_with(&["-n", &namespace.0, "create", "--dry-run=server", "-f", "-"], manifest)
}

#[test]
fn every_policy_is_understood_by_the_api_server() {
    let labelled = format!("app.kubernetes.io/instance={RELEASE}");
    eventually("five policies with nothing to complain of", || {
        let found = kubectl(&["get", "validatingadmissionpolicies", "-l", &labelled, "-o", "json"]);
        let found: Value = serde_json::from_str(&found).unwrap();
        let items = found["items"].as_array().unwrap();
        let fine = |policy: &&Value| {
            policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
                && policy["status"]["typeChecking"] == json!({})
        };
        if items.len() == 5 && items.iter().filter(fine).count() == 5 { Ok(()) } else { Err(found.to_string()) }
    });
}
