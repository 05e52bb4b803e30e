//! `docs/annotations.md` says of each annotation what the code says. `UPDATE=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::fmt::Write as _;

use memlock_operator::domain::{annotations::ANNOTATIONS, inject::Row};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/annotations.md");

fn replace(page: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: from the code -->\n"), format!("<!-- end of {name} -->"));
    let (head, rest) = page.split_once(&begin).expect("the page has a place for the table");
    let (_, tail) = rest.split_once(&end).expect("the table ends");
    format!("{head}{begin}{table}{end}{tail}")
}

#[test]
fn the_page_says_what_the_code_says() {
    let mut words = "| annotation | values, default | meaning |\n|---|---|---|\n".to_owned();
    for word in ANNOTATIONS {
        writeln!(words, "| `{}` | {} | {} |", word.key, word.values, word.meaning).unwrap();
    }
    let stands = std::fs::read_to_string(PAGE).unwrap();
    let page = replace(&stands, "annotations", &words);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    assert_eq!(stands, page, "write docs/annotations.md anew: UPDATE=1 cargo test --test annotations_reference");
}

/// The rows of the table "What the webhook decides": the words of a reason, and the answer.
fn decisions(page: &str) -> Vec<(Vec<String>, String)> {
    let (_, section) = page.split_once("## What the webhook decides").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [_, reasons, answer] = cells.as_slice() else { panic!("three cells: {line}") };
        let reasons = reasons.split(", ").map(|reason| reason.trim_matches('`').to_owned());
        (reasons.collect(), (*answer).to_owned())
    })
    .collect()
}

#[test]
fn the_page_has_the_rows_of_the_table_in_their_order_and_with_their_answers() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let mut stands = decisions(&page)
        .into_iter()
        .flat_map(|(reasons, answer)| reasons.into_iter().map(move |reason| (reason, answer.clone())));
    let before = [
        ("NotOptedIn", "untouched"),
        ("MirrorPod", "untouched"),
        ("InvalidAnnotation", "denied"),
        ("UnknownContainer", "denied"),
        ("NoContainers", "denied"),
        ("Windows", "denied"),
        ("VerifyOnly", "untouched"),
    ];
    let rows = Row::ALL.map(|row| {
        let answer = match row {
            row if row.is_refusal() => "denied",
            Row::AlreadyCapable => "nothing",
            _ => "capability",
        };
        (row.as_str(), answer)
    });
    for (reason, answer) in before.into_iter().chain(rows) {
        let (stands, says) = stands.next().unwrap_or_else(|| panic!("the page ends before {reason}"));
        assert_eq!(stands, reason, "another row stands where {reason} should");
        assert_eq!(says.split([' ', ',', ';']).next(), Some(answer), "{reason}: {says}");
    }
    assert_eq!(stands.next(), None, "the page has a row that the table does not have");
}
