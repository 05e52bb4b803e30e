//! The documentation is whole: every link leads somewhere, the contents list every page, and every code block either is
//! executed by the end-to-end tests or says that it only shows something.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_docs,
    unreachable_pub,
    reason = "a test may panic"
)]

mod links;
mod pages;

use std::{collections::BTreeSet, fs, path::Path};

use pages::{Kind, PAGES, ROOT, blocks, read};

/// Every page of `docs/`, and the others that the contents list.
fn all() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(ROOT).join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.insert(path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.extend(links::listed());
    found
}

#[test]
fn every_link_leads_somewhere() {
    let broken: Vec<String> = all().iter().flat_map(|page| links::broken(page)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_contents_list_every_page_once() {
    let listed = links::listed();
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "docs/SUMMARY.md lists a page twice");
    let missing: Vec<_> = all().into_iter().filter(|page| !once.contains(page) && page != "docs/SUMMARY.md").collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
}

#[test]
fn every_code_block_says_what_it_is() {
    for page in all() {
        blocks(&page).unwrap();
        let mut fenced = false;
        let mut list = false;
        let text = read(&page);
        for (at, pair) in (2..).zip(text.lines().collect::<Vec<_>>().windows(2)) {
            let [before, line] = pair else { continue };
            fenced ^= before.trim_start().starts_with("```");
            list = if before.is_empty() || before.starts_with(' ') {
                list
            } else {
                before.starts_with(['*', '-', '1', '2', '3'])
            };
            let indented = before.is_empty() && line.starts_with("    ") && !fenced && !list;
            assert!(!indented, "{page}:{at}: an indented code block says nothing of itself; fence it");
        }
    }
}

#[test]
fn every_command_is_executed_by_the_end_to_end_test() {
    let executed: BTreeSet<&str> = PAGES.iter().map(|(page, _)| *page).collect();
    assert_eq!(executed.len(), PAGES.len(), "a page twice");
    for page in all() {
        // The local cluster is what the tests run on; its own page is shown by tests/cluster/check.
        let any = blocks(&page).unwrap().iter().any(|block| block.kind != Kind::Shown);
        let expected = any && page != "tests/cluster/README.md";
        assert_eq!(executed.contains(page.as_str()), expected, "{page}: PAGES in tests/docs/pages.rs has it wrong");
    }
}

#[test]
fn every_placeholder_is_known() {
    for (page, _) in PAGES {
        for block in blocks(page).unwrap() {
            for (command, _) in block.steps() {
                let unknown = pages::unmapped(&command);
                assert!(unknown.is_empty(), "{page}:{}: nobody replaces {unknown:?}", block.line);
            }
        }
    }
}

#[test]
fn every_session_has_commands() {
    for (page, _) in PAGES {
        for block in blocks(page).unwrap().iter().filter(|block| block.kind == Kind::Session) {
            assert!(block.text.starts_with("$ "), "{page}:{}: a session begins with a command", block.line);
        }
    }
}

#[test]
fn what_is_named_exists() {
    let targets = read("Makefile");
    for page in all().into_iter().filter(|page| page != "CHANGELOG.md" && page != "docs/decisions.md") {
        for code in links::inline_code(&read(&page)) {
            if let Some(target) = code.strip_prefix("make ").and_then(|rest| rest.split(' ').next()) {
                assert!(targets.contains(&format!("\n{target}:")), "{page}: the Makefile has no `{code}`");
            }
            let in_tree = ["src/", "tests/", "charts/", "benches/", "images/", "krew/", "docs/"];
            let path = code.split(' ').next().unwrap_or_default();
            if in_tree.iter().any(|folder| path.starts_with(folder)) && !path.contains(['*', '{', '…']) {
                assert!(Path::new(ROOT).join(path).exists(), "{page}: `{code}` is not there");
            }
        }
    }
}

#[test]
fn words_in_capitals_are_found() {
    let words = |command| pages::capitals(command).into_iter().map(|(_, word)| word).collect::<Vec<_>>();
    assert_eq!(words("kubectl get pod POD -n NAMESPACE # or NAME"), ["POD", "NAMESPACE"]);
    assert_eq!(words("a pod/NAME-0 TAG:x Pod A KUBECONFIG=b $HOME ${HOME}"), ["NAME", "TAG"]);
    assert_eq!(pages::unmapped("docker push REGISTRY/x:TAG NOBODY"), ["NOBODY"]);
}
