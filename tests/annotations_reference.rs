//! `docs/annotations.md` says of each annotation what the code says. `UPDATE=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

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

#[test]
fn the_page_names_every_row_of_the_table() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    for row in Row::ALL {
        assert!(page.contains(&format!("`{}`", row.as_str())), "docs/annotations.md does not explain {row:?}");
    }
}
