//! Holds the first rule of the house: `domain` knows no runtime, client, HTTP, clock or file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

const FORBIDDEN: [&str; 14] = [
    "tokio",
    "kube::",
    "k8s_openapi",
    "hyper",
    "axum",
    "http::",
    "jiff",
    "std::time",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "tracing",
    "crate::{",
];

/// Each `use` line of the domain that leads out of it.
fn leaks(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            leaks(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
            for line in code.filter(|line| !line.trim_start().starts_with('#')) {
                let outside = FORBIDDEN.iter().any(|word| line.contains(word));
                let sibling = line.contains("crate::") && !line.contains("crate::domain");
                if outside || sibling {
                    found.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
}

#[test]
fn nothing_in_the_domain_leads_out_of_it() {
    let mut found = Vec::new();
    leaks(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain"), &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_leak_would_be_found() {
    let folder = std::env::temp_dir().join(format!("memlock-purity-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join("x.rs"),
        "use tokio::fs;\n// tokio in a comment is fine\nuse crate::webhook;\nuse crate::domain::names;\n",
    )
    .unwrap();
    let mut found = Vec::new();
    leaks(&folder, &mut found);
    fs::remove_dir_all(folder).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
}
