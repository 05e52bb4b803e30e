//! The API server's audit log: what the controllers' account asked for, and what was written into webhook configurations.

use std::{env, fs, path::Path};

use serde_json::Value;

const ACCOUNT: &str = "system:serviceaccount:memlock-system:memlock-operator-controller";

/// What the controllers' account asked for.
pub fn requests() -> Vec<Value> {
    let mut all = all();
    all.retain(|event| event["user"]["username"] == ACCOUNT);
    all
}

/// Everything so far, in the order in which it was written.
pub fn all() -> Vec<Value> {
    let config = env::var("KUBECONFIG").expect("KUBECONFIG names the local cluster's kubeconfig");
    let file = Path::new(&config).parent().unwrap().join("log/audit.log");
    let text =
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}; the local cluster writes it", file.display()));
    // The last line may be half written.
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
