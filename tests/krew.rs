//! The manifest that krew gets, by krew's own rules (`internal/index/validation` in kubernetes-sigs/krew) and those of its
//! index (`docs/developer-guide`: names, one line of at most 50 characters and a licence in each archive).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A folder of archives that goes with the test.
struct Release(PathBuf);

impl Release {
    fn new(name: &str, archives: &[&str], files: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("memlock-krew-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::write(folder.join(file), "x").unwrap();
        }
        for archive in archives {
            let status =
                Command::new("tar").arg("-czf").arg(folder.join(archive)).arg("-C").arg(&folder).args(files).status();
            assert!(status.unwrap().success());
        }
        Self(folder)
    }

    fn manifest(&self) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("krew/manifest");
        let arguments = [env!("CARGO_PKG_VERSION"), "https://project.example", "https://project.example/files/"];
        Command::new(script).args(arguments).arg(&self.0).output().unwrap()
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

const BOTH: [&str; 2] = ["kubectl-memlock", "LICENSE"];

#[test]
fn the_manifest_keeps_to_the_rules_of_krew() {
    let release =
        Release::new("good", &["kubectl-memlock_linux_amd64.tar.gz", "kubectl-memlock_darwin_arm64.tar.gz"], &BOTH);
    let output = release.manifest();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(manifest["kind"], "Plugin");
    assert_eq!(manifest["metadata"]["name"], "memlock");
    let spec = &manifest["spec"];
    assert_eq!(spec["version"].as_str().unwrap(), concat!("v", env!("CARGO_PKG_VERSION")));
    assert_eq!(spec["homepage"], "https://project.example");
    let short = spec["shortDescription"].as_str().unwrap();
    assert!((1..=50).contains(&short.len()) && !short.contains(['\n', '\r']) && !short.ends_with('.'), "{short:?}");
    assert!(["description", "caveats"].iter().all(|key| spec[key].as_str().is_some_and(|text| !text.is_empty())));
    assert!(!text.contains('@'), "every word in its place:\n{text}");

    let platforms = spec["platforms"].as_array().unwrap();
    let seen: Vec<(&str, &str)> = platforms
        .iter()
        .map(|platform| {
            let labels = platform["selector"]["matchLabels"].as_object().unwrap();
            assert_eq!(labels.len(), 2);
            let (os, arch) = (labels["os"].as_str().unwrap(), labels["arch"].as_str().unwrap());
            let name = format!("kubectl-memlock_{os}_{arch}.tar.gz");
            assert_eq!(platform["uri"].as_str().unwrap(), format!("https://project.example/files/{name}"));
            let sum = Command::new("sha256sum").arg(release.0.join(name)).output().unwrap().stdout;
            let sha256 = platform["sha256"].as_str().unwrap();
            assert!(sha256.len() == 64 && String::from_utf8(sum).unwrap().starts_with(sha256));
            assert_eq!(platform["bin"], "kubectl-memlock");
            assert!(platform.get("files").is_none(), "krew takes all of the archive");
            (os, arch)
        })
        .collect();
    assert_eq!(seen, [("darwin", "arm64"), ("linux", "amd64")]);
}

#[test]
fn what_krew_would_refuse_is_refused() {
    let lacking = Release::new("lacking", &["kubectl-memlock_linux_amd64.tar.gz"], &["kubectl-memlock"]).manifest();
    assert_eq!(lacking.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lacking.stderr).contains("has no LICENSE"));
    let empty = Release::new("empty", &[], &[]).manifest();
    assert_eq!(empty.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("build them first"));
}
