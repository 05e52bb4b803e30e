//! Every command of the documentation, executed as its reader would: page by page, on a cluster as the page takes it for
//! granted. What a page shows as output is compared with what the command prints.
//!
//! Run by itself, after the others: it uninstalls what they use, and puts it back.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    chart::CHART,
    cluster::{
        Namespace, PATIENCE, RELEASE, SYSTEM, eventually, kubectl, leading_pod, minor, nbdkit, opted_in, reached, run,
        succeed,
    },
};

#[path = "../docs/pages.rs"]
mod pages;

use pages::{Block, PAGES, ROOT, Start, blocks, capitals};

/// Programs of the pages that do not run here, and why. A stand-in that does nothing takes the place of each.
const NOT_HERE: [(&str, &str); 7] = [
    ("make", "builds and tests, of which this test is a part"),
    ("cargo", "compiles what has just been compiled"),
    ("docker", "there is no Docker on the machine that tests"),
    ("podman", "tests/podman/run shows it, with a storage of its own"),
    ("cosign", "verifies a published release, over the network"),
    ("gh", "the same"),
    ("swapoff", "there is no such device; tests/e2e/swap.rs swaps for real"),
];

/// The folder in which a reader stands, with the programs that the pages speak of.
struct Desk {
    folder: PathBuf,
    image: (String, String),
}

impl Desk {
    fn new() -> Self {
        let reference = fs::read_to_string(format!("{ROOT}/target/images/ref")).expect("images/operator was run");
        let (repository, tag) = reference.trim().rsplit_once(':').unwrap();
        let folder = std::env::temp_dir().join(format!("memlock-e2e-docs-{}", std::process::id()));
        fs::create_dir_all(folder.join("bin")).unwrap();
        fs::create_dir_all(folder.join("absent")).unwrap();
        for name in ["charts", "manifests", "examples", "krew", "docs"] {
            symlink(Path::new(ROOT).join(name), folder.join(name)).unwrap();
        }
        for name in ["deployment.yaml", "refused.yaml", "misplaced.yaml", "compose.yaml"] {
            fs::copy(Path::new(ROOT).join("tests/cli/inject").join(name), folder.join(name)).unwrap();
        }
        let desk = Self { folder, image: (repository.to_owned(), tag.to_owned()) };
        let pod = nbdkit("from-a-file", &opted_in(), &["--swap"]);
        let template =
            json!({ "metadata": { "labels": { "app": "a" }, "annotations": opted_in() }, "spec": pod["spec"] });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "from-a-file" },
            "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "a" } }, "template": without(template, "/spec/terminationGracePeriodSeconds") },
        });
        fs::write(desk.folder.join("pod.yaml"), pod.to_string()).unwrap();
        fs::write(desk.folder.join("deploy.yaml"), deployment.to_string()).unwrap();
        for (program, _) in NOT_HERE {
            let stand_in = desk.folder.join("absent").join(program);
            fs::write(&stand_in, format!("#!/bin/sh\necho >> {}.called\ncat > /dev/null\n", stand_in.display()))
                .unwrap();
            fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
        }
        desk
    }

    /// Commands in bash, which ends at the first that fails.
    fn bash(&self, commands: &str) -> Output {
        let folder = self.folder.display();
        let programs = Path::new(env!("CARGO_BIN_EXE_memlock-operator")).parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        Command::new("timeout")
            .args(["180", "bash", "-euo", "pipefail", "-c", &format!("exec 2>&1\n{commands}")])
            .current_dir(&self.folder)
            .env("PATH", format!("{folder}/absent:{programs}:{path}"))
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// A kubeconfig whose namespace is this one, as `kubectl config set-context --current --namespace` makes it.
    fn stand_in(&self, namespace: &str) {
        fs::write(self.folder.join("kubeconfig"), kubectl(&["config", "view", "--raw"])).unwrap();
        let said = self.bash(&format!("kubectl config set-context --current --namespace {namespace}"));
        assert!(said.status.success(), "{}", text(&said));
        let injected = self.bash("memlock-operator inject -f deploy.yaml > injected.yaml");
        assert!(injected.status.success(), "{}", text(&injected));
    }

    fn value(&self, placeholder: &str, namespace: &Namespace) -> String {
        let (repository, tag) = &self.image;
        match placeholder {
            "NAME" => "nbdkit".to_owned(),
            "POD" => "nbdkit-0".to_owned(),
            "NAMESPACE" => namespace.0.clone(),
            "REGISTRY" => "registry.example".to_owned(),
            "REPOSITORY" => repository.clone(),
            "TAG" => tag.clone(),
            "DIGEST" => format!("sha256:{:064}", 0),
            "OWNER" => "owner".to_owned(),
            "DEPLOYMENT" => "other".to_owned(),
            "DEVICE" => "/dev/ublkb0".to_owned(),
            "IMAGE" => "localhost/nbdkit:1".to_owned(),
            "CONTROLLER" => leading_pod(),
            other => panic!("{other} has no value"),
        }
    }

    fn filled_in(&self, command: &str, namespace: &Namespace) -> String {
        let mut filled = command.to_owned();
        for (at, word) in capitals(command).into_iter().rev() {
            if pages::PLACEHOLDERS.contains(&word.as_str()) {
                filled.replace_range(at..at + word.len(), &self.value(&word, namespace));
            }
        }
        filled
    }

    /// Each command of a block; `Err` says which one did not do what the page says.
    fn execute(&self, block: &Block, namespace: &Namespace) -> Result<usize, String> {
        let steps = block.steps();
        let count = steps.len();
        for (at, (command, said)) in (1..).zip(steps) {
            // The page says which kubectl it takes.
            if command.contains("apply --server-side --force-conflicts --subresource") && minor() < 32 {
                continue;
            }
            let command = self.filled_in(&command, namespace);
            let fails = block.fails && at == count;
            if command.starts_with("helm test") {
                reached(&namespace.0);
            }
            // A look may come a moment too early; whatever changes something is done once.
            let look = || {
                let output = self.bash(&command);
                let printed = text(&output);
                if output.status.success() == fails {
                    return Err(format!("{command}\nended with {}: {printed}", output.status));
                }
                if fails && said.is_empty() && !printed.contains("denied") {
                    return Err(format!("{command}\nfailed, and was not denied: {printed}"));
                }
                missing(&said, &printed)
                    .map_or(Ok(()), |line| Err(format!("{command}\ndid not print\n{line}\nbut\n{printed}")))
            };
            let start = Instant::now();
            let mut seen = look();
            while seen.is_err() && !said.is_empty() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(500));
                seen = look();
            }
            seen?;
        }
        Ok(count)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn without(mut value: serde_json::Value, pointer: &str) -> serde_json::Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).and_then(|parent| parent.as_object_mut()).unwrap().remove(key);
    value
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One blank between words, and `#` for every word that begins with a digit: figures, ages, versions, addresses. Zero and
/// counts such as 2/2 stay.
fn plain(line: &str) -> String {
    let word = |word: &str| {
        let figure = word.trim_start_matches(['(', 'v']).starts_with(|c: char| c.is_ascii_digit());
        if figure && word != "0" && !word.contains('/') { "#".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// Whether a printed line is the one that is shown, in which `…` stands for anything.
fn fits(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (plain(shown), plain(printed));
    let mut pieces = shown.split('…').map(str::trim);
    let Some(mut rest) = pieces.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut last = None;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
        last = Some(piece);
    }
    rest.is_empty() || last == Some("")
}

/// The first line that is shown and was not printed, after those before it.
fn missing(shown: &[String], printed: &str) -> Option<String> {
    let mut lines = printed.lines();
    shown.iter().find(|line| line.trim() != "…" && !lines.by_ref().any(|found| fits(line, found))).cloned()
}

#[test]
fn lines_are_compared() {
    assert!(fits("nbdkit-0   1/1   Running   0   12s", "nbdkit-0 1/1 Running 0 3m2s"));
    assert!(!fits("nbdkit-0 1/1 Running 0 12s", "nbdkit-0 0/1 Running 0 12s"));
    assert!(!fits("x 0 203Mi", "x 202Mi 0"));
    assert!(fits("process 1 (nbdkit): … why", "process 7 (nbdkit): so that is why"));
    assert!(fits("begins …", "begins and goes on") && fits("begins…", "begins") && !fits("begins", "begins and"));
    assert_eq!(missing(&["b".to_owned(), "a".to_owned()], "a\nb\n"), Some("a".to_owned()));
}

/// The installation that the other tests use, with its values; put back at the end whatever happens.
struct Installation(String);

impl Installation {
    fn note() -> Self {
        Self(succeed("helm", &["get", "values", RELEASE, "-n", SYSTEM, "-o", "json"]))
    }

    fn is_there() -> bool {
        run("helm", &["status", RELEASE, "-n", SYSTEM]).status.success()
    }

    fn put_back(&self) -> Result<(), String> {
        let values = std::env::temp_dir().join(format!("memlock-e2e-docs-values-{}.json", std::process::id()));
        fs::write(&values, &self.0).map_err(|error| error.to_string())?;
        let file = values.to_str().unwrap();
        let place = ["-n", SYSTEM, "--create-namespace"];
        let how = ["--values", file, "--wait", "--timeout", "90s"];
        let output = run("helm", &[&["upgrade", "--install", RELEASE, CHART], &place[..], &how].concat());
        drop(fs::remove_file(&values));
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Err(said) = self.put_back() {
            eprintln!("the installation could not be put back: {said}");
        }
    }
}

fn nothing_installed() {
    run("helm", &["uninstall", RELEASE, "-n", SYSTEM, "--ignore-not-found", "--wait", "--timeout", "90s"]);
    kubectl(&["delete", "namespace", SYSTEM, "--ignore-not-found", "--timeout=90s"]);
}

fn installed(installation: &Installation) {
    if !Installation::is_there() {
        eventually("the installation", || installation.put_back());
    }
    for part in ["webhook", "controller"] {
        let deployment = format!("deployment/{RELEASE}-operator-{part}");
        kubectl(&["-n", SYSTEM, "rollout", "status", &deployment, "--timeout=90s"]);
    }
}

/// What the pages call NAME, POD and DEPLOYMENT.
fn workloads(namespace: &Namespace, opted: bool) {
    let memory = json!({ "memory": "512Mi" });
    let pod = |name: &str, annotations, arguments: &[&str]| {
        let mut pod = nbdkit(name, annotations, arguments);
        pod["spec"]["containers"][0]["resources"] = json!({ "requests": memory, "limits": memory });
        pod
    };
    let annotations = if opted { opted_in() } else { json!({}) };
    let labels = json!({ "app": "nbdkit" });
    let template = pod("", &annotations, &["--swap"]);
    // A pod that cannot lock never becomes ready: only a parallel set replaces it by itself.
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "nbdkit" },
        "spec": { "serviceName": "nbdkit", "podManagementPolicy": "Parallel", "selector": { "matchLabels": labels },
                  "template": { "metadata": { "annotations": annotations, "labels": labels }, "spec": template["spec"] } },
    });
    let idle = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "other" },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "other" } },
                  "template": { "metadata": { "labels": { "app": "other" } }, "spec": template["spec"] } },
    });
    for object in [set, idle] {
        let output = namespace.create(&object);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    if opted {
        let output = namespace.create(&pod("nbdkit-unlocked", &opted_in(), &[]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        namespace.state("nbdkit-0", "locked");
        namespace.state("nbdkit-unlocked", "unlocked");
    }
}

#[test]
fn every_command_of_every_page_does_what_the_page_says() {
    let only = std::env::var("MEMLOCK_PAGES").unwrap_or_default();
    let desk = Desk::new();
    let installation = Installation::note();
    let (mut wrong, mut count) = (String::new(), 0);
    let chosen: Vec<_> = PAGES.iter().filter(|(page, _)| page.contains(&only)).collect();
    for (at, (page, start)) in chosen.iter().enumerate() {
        match start {
            Start::Nothing => nothing_installed(),
            Start::Installed | Start::OptedIn => installed(&installation),
        }
        let namespace = Namespace::new(&format!("docs-{at}"));
        workloads(&namespace, *start == Start::OptedIn);
        desk.stand_in(&namespace.0);
        let before = count;
        for block in blocks(page).unwrap() {
            match desk.execute(&block, &namespace) {
                Ok(more) => count += more,
                Err(said) => write!(wrong, "{page}:{}: {said}\n\n", block.line).unwrap(),
            }
        }
        eprintln!("{page}: {} commands", count - before);
    }
    assert!(wrong.is_empty(), "{wrong}");
    if only.is_empty() {
        for (program, why) in NOT_HERE {
            let called = desk.folder.join("absent").join(format!("{program}.called")).exists();
            assert!(called, "no page calls {program} ({why}): take it off the list");
        }
    }
    eprintln!("{count} commands of {} pages", chosen.len());
}
