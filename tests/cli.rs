//! The commands that need no cluster, run as people run them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use rstest::rstest;

const BINARY: &str = env!("CARGO_BIN_EXE_memlock-operator");

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name)
}

/// Runs it in the folder, so that messages name files as they are given here.
fn run_in(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(BINARY)
        .args(arguments)
        .current_dir(directory)
        .env_remove("MEMLOCK_AGENT_IMAGE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn run(arguments: &[&str]) -> Output {
    run_in(&folder(""), arguments, b"")
}

fn piped(arguments: &[&str], input: &str) -> Output {
    run_in(&folder(""), arguments, input.as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code, standard output, standard error.
fn seen(output: &Output) -> String {
    let mut seen = format!("exit code {}\n", output.status.code().unwrap());
    for (name, stream) in [("output", &output.stdout), ("errors", &output.stderr)] {
        if !stream.is_empty() {
            write!(seen, "--- {name}\n{}", text(stream).replace('\r', "\\r")).unwrap();
        }
    }
    seen
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn what_needs_no_change_comes_back_byte_for_byte() {
    for file in files("unchanged") {
        let original = fs::read(&file).unwrap();
        for command in ["inject", "uninject"] {
            let output = run(&[command, "-f", file.to_str().unwrap()]);
            assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", file.display(), seen(&output));
            assert_eq!(output.stdout, original, "{command} {}", file.display());
            let piped = run_in(&folder(""), &[command, "-f", "-"], &original);
            assert_eq!(piped.stdout, original, "{command} {} by standard input", file.display());
        }
        let diff = run(&["inject", "--diff", "-f", file.to_str().unwrap()]);
        assert!(diff.status.success() && diff.stdout.is_empty(), "{}", seen(&diff));
    }
}

#[test]
fn injected_files() {
    insta::glob!("cli/inject/*", |path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        insta::assert_snapshot!(seen(&run_in(&folder("inject"), &["inject", "-f", file], b"")));
    });
}

#[test]
fn explained_files() {
    insta::glob!("cli/inject/*", |path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        insta::assert_snapshot!(seen(&run_in(&folder("inject"), &["explain", "-f", file], b"")));
    });
}

#[test]
fn a_second_run_is_empty_and_uninject_restores_the_bytes() {
    for file in files("inject") {
        let original = text(&fs::read(&file).unwrap());
        for agent in [&["--agent-image", "registry.example/memlock:1"][..], &["--no-agent"]] {
            let name = file.display();
            let first = run(&[&["inject", "-f", file.to_str().unwrap()], agent].concat());
            if !first.status.success() {
                assert!(first.stdout.is_empty(), "{name}: a refused run prints nothing");
                continue;
            }
            let injected = text(&first.stdout);
            let second = piped(&[&["inject", "-f", "-"], agent].concat(), &injected);
            assert_eq!(text(&second.stdout), injected, "{name}: a second run changes something");
            let back = text(&piped(&["uninject", "-f", "-"], &injected).stdout);
            if file.ends_with("anchors.yaml") {
                // Written anew: the values are restored, the comments are not.
                let value = |text: &str| -> serde_json::Value {
                    serde_json::from_slice(&piped(&["uninject", "-o", "json", "-f", "-"], text).stdout).unwrap()
                };
                assert_eq!(value(&back), value(&original), "{name}");
            } else {
                assert_eq!(back, original, "{name}");
            }
        }
    }
}

#[rstest]
#[case::syntax("a: 1\n---\nb: [\n", 2, "standard input: document 2 (line 3): the text is not YAML")]
#[case::duplicate("kind: Pod\n\nkind: Pod\n", 2, "document 1 (line 3): the key \"kind\" stands twice")]
#[case::deep_duplicate("a:\n  - b: 1\n    b: 2\n", 2, "(line 3): the key \"b\" stands twice")]
#[case::template("a: {{ .Values.x }}\n", 2, "(line 1): a mapping or list is used as a key")]
#[case::tag("a: !!binary aGk=\n", 2, "(line 1): the tag !!binary")]
#[case::endless("a: &x [*x]\n", 2, "(line 1): the alias stands inside what it repeats")]
#[case::not_finite("a:\n- .inf\n", 2, "(line 2): the number .inf")]
#[case::json("{\"a\": 1}\n{\"b\": }\n", 2, "document 2 (line 2): the text is not JSON")]
#[case::not_a_pod(
    "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {memlock.dev/swap-device: yes}}\n",
    2,
    "document 1 (line 1): Pod a: the pod cannot be read"
)]
#[case::bad_record(
    "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {memlock.dev/injected: x}}\n",
    1,
    "Pod (no name): annotation memlock.dev/injected cannot be read"
)]
fn errors_name_the_place(#[case] input: &str, #[case] code: i32, #[case] said: &str) {
    let output = piped(&["uninject", "-f", "-"], input);
    assert_eq!(output.status.code(), Some(code), "{}", seen(&output));
    assert!(output.stdout.is_empty() && text(&output.stderr).contains(said), "{}", seen(&output));
}

#[rstest]
#[case::no_file(&["inject", "-f", "absent.yaml"], "absent.yaml: cannot be read")]
#[case::nothing_in_it(&["inject", "-f", "empty-of-manifests"], "empty-of-manifests: cannot be read")]
#[case::twice(&["inject", "-f", "-", "-f", "-"], "standard input: can be read only once")]
#[case::no_input(&["inject"], "--filename")]
#[case::no_level(&["inject", "-f", "-", "--namespace-level", "none"], "\"none\" is no Pod Security level")]
#[case::diff_of_json(&["inject", "-f", "-", "--diff", "-o", "json"], "cannot be used with")]
fn wrong_usage_is_2(#[case] arguments: &[&str], #[case] said: &str) {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", seen(&output));
    assert!(text(&output.stderr).contains(said), "{}", seen(&output));
}

/// A list in a list and so on, `deep` of them.
fn nested(deep: usize) -> String {
    format!("{}x{}", "[".repeat(deep), "]".repeat(deep))
}

#[rstest]
#[case::block("- ".repeat(128) + "x\n")]
#[case::very_deep("- ".repeat(100_000) + "x\n")]
#[case::flow(nested(128))]
#[case::mappings("{a: ".repeat(128) + "x" + &"}".repeat(128))]
#[case::through_aliases(format!("a: &a {}\nb: {}\n", nested(100), nested(100).replace('x', "*a")))]
#[case::json(format!("{{\"a\": {}}}", nested(128).replace('x', "1")))]
fn what_goes_too_deep_is_unreadable(#[case] input: String) {
    let output = piped(&["inject", "-f", "-"], &input);
    assert_eq!(output.status.code(), Some(2), "{}", seen(&output));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("stand more than 127 deep inside each other; take them apart"));
}

#[rstest]
#[case::block("- ".repeat(127) + "x\n")]
#[case::flow(nested(127))]
fn what_goes_deep_comes_back(#[case] input: String) {
    for output in [&["inject", "-f", "-"][..], &["uninject", "-o", "yaml", "-f", "-"]] {
        let output = piped(output, &input);
        assert!(output.status.success() && text(&output.stdout) == input, "{}", seen(&output));
    }
    assert!(piped(&["inject", "-o", "json", "-f", "-"], &input).status.success());
}

#[rstest]
#[case::nodes((1..30).fold("a0: &a0 [x, x]\n".to_owned(), |all, n| {
    format!("{all}a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)
}))]
#[case::text(format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(100)))]
#[case::keys(format!("a: &a {}\nb:\n{}", "x".repeat(1_000), "- *a : 1\n".repeat(10_000)))]
#[case::merged(format!("a: &a {{k: {}}}\nb:\n{}", "x".repeat(100_000), "- <<: *a\n".repeat(100)))]
fn aliases_do_not_fill_the_memory(#[case] input: String) {
    let output = piped(&["inject", "-f", "-"], &input);
    assert_eq!(output.status.code(), Some(2), "{}", seen(&output));
    assert!(text(&output.stderr).contains("the aliases expand to more than 8 MiB"), "{}", seen(&output));
}

#[test]
fn aliases_of_ordinary_size_are_followed() {
    let input = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000), "*a, ".repeat(1_000));
    let output = piped(&["inject", "-f", "-"], &input);
    assert!(output.status.success() && text(&output.stdout) == input, "{}", text(&output.stderr));
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: storage, annotations: {memlock.dev/swap-device: \"true\"}}\nspec: {containers: [{name: d, image: x}]}\n";

#[test]
fn the_level_of_the_namespace_can_be_said() {
    for level in ["baseline", "restricted"] {
        let output = piped(&["inject", "-f", "-", "--namespace-level", level], POD);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty() && text(&output.stderr).contains(level), "{}", seen(&output));
    }
}

#[test]
fn an_agent_is_asked_for_where_none_is_named() {
    let pod = POD.replace("{memlock.dev/", "{memlock.dev/lock-by: agent, memlock.dev/");
    let refused = piped(&["inject", "-f", "-"], &pod);
    assert!(text(&refused.stderr).contains("--agent-image"), "{}", seen(&refused));
    let given = piped(&["inject", "-f", "-", "--agent-image", "r/a:1", "--agent-pull-policy", "Never"], &pod);
    let out = text(&given.stdout);
    assert!(out.contains("r/a:1") && out.contains("Never"), "{}", seen(&given));
    let mounted = piped(&["inject", "-f", "-", "--agent-image", "r/a:1", "--agent-delivery", "image-volume"], &pod);
    assert!(text(&mounted.stdout).contains("pullPolicy") || text(&mounted.stdout).contains("reference"));
}

#[test]
fn the_record_can_be_left_out_for_podman() {
    let output = piped(&["inject", "-f", "-", "--no-record"], POD);
    let out = text(&output.stdout);
    assert!(out.contains("IPC_LOCK") && !out.contains("memlock.dev/injected"), "{out}");
    assert_eq!(text(&piped(&["inject", "-f", "-", "--no-record"], &out).stdout), out);
}

#[test]
fn a_folder_is_read_in_order_and_deeper_only_when_asked() {
    let flat = run(&["inject", "-f", "folder"]);
    assert!(flat.status.success(), "{}", seen(&flat));
    assert!(!text(&flat.stdout).contains("name: inner"));
    let deep = run(&["inject", "-R", "-f", "folder"]);
    let out = text(&deep.stdout);
    assert!(out.find("services:").unwrap() < out.find("\"List\"").unwrap());
    assert!(out.find("\"List\"").unwrap() < out.find("name: inner").unwrap(), "{out}");
}

#[test]
fn output_can_change_its_form() {
    let file = folder("inject/kinds.yaml");
    let json = run(&["inject", "-o", "json", "-f", file.to_str().unwrap()]);
    let documents: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&json.stdout).into_iter().map(Result::unwrap).collect();
    assert_eq!(documents.len(), 8);
    assert!(text(&json.stdout).matches("IPC_LOCK\"\n").count() == 8, "{}", text(&json.stdout));
    let yaml = piped(&["uninject", "-o", "yaml", "-f", "-"], &text(&json.stdout));
    let again = piped(&["inject", "-o", "json", "-f", "-"], &text(&yaml.stdout));
    let back: Vec<serde_json::Value> =
        serde_json::Deserializer::from_slice(&again.stdout).into_iter().map(Result::unwrap).collect();
    assert_eq!(back, documents);
}

#[test]
fn files_of_both_forms_stay_apart() {
    let output =
        run(&["inject", "-f", "unchanged/several.json", "-f", "inject/list.yaml", "-f", "unchanged/crlf.yaml"]);
    let again = piped(&["inject", "-o", "json", "-f", "-"], &text(&output.stdout));
    assert!(again.status.success(), "{}", seen(&again));
    assert_eq!(serde_json::Deserializer::from_slice(&again.stdout).into_iter::<serde_json::Value>().count(), 4);
}

#[test]
fn a_diff_shows_what_would_change() {
    let output = run_in(&folder("inject"), &["inject", "--diff", "--no-agent", "-f", "deployment.yaml"], b"");
    insta::assert_snapshot!(seen(&output));
}

#[rstest]
#[case("docker")]
#[case("podman")]
fn flags_of_the_engines(#[case] engine: &str) {
    for file in ["deployment.yaml", "refused.yaml"] {
        let output = run_in(&folder("inject"), &["explain", engine, "-f", file], b"");
        insta::assert_snapshot!(format!("{engine} {file}"), seen(&output));
    }
}

#[test]
fn a_closed_reader_is_no_failure() {
    let big = "# a comment\n".repeat(100_000);
    let mut child = Command::new(BINARY)
        .args(["inject", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(big.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", seen(&output));
}

#[test]
fn many_documents_and_a_long_list_are_no_trouble() {
    const PODS: usize = 3_000;
    let pods: Vec<String> = (0..PODS).map(|n| POD.replace("name: a", &format!("name: a{n}"))).collect();
    let input = pods.join("---\n");
    let output = piped(&["inject", "-f", "-"], &input);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout).matches("IPC_LOCK]").count(), PODS);

    let items: Vec<String> = pods.iter().map(|pod| pod.trim_end().replace('\n', "\n  ")).collect();
    let list = format!("apiVersion: v1\nkind: List # of many\nitems:\n- {}\n", items.join("\n- "));
    let output = piped(&["inject", "-f", "-"], &list);
    assert!(output.status.success());
    let out = text(&output.stdout);
    assert!(out.contains("# of many") && out.matches("IPC_LOCK]").count() == PODS);
    assert_eq!(text(&piped(&["uninject", "-f", "-"], &out).stdout), list);
}

#[test]
fn nothing_is_logged_and_no_colour_is_written_to_a_pipe() {
    let output = piped(&["inject", "-f", "-", "--log", "trace"], POD);
    let errors = text(&output.stderr);
    assert!(errors.lines().all(|line| line.starts_with("standard input: ")), "{errors}");
    assert!(!errors.contains('\u{1b}'));
}
