//! The chart's policy for the controller's account allows exactly what the program may run.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;

use memlock_operator::domain::probe::ALLOWED;

const FILE: &str = include_str!("../charts/memlock-operator/files/exec-argv.json");

#[test]
fn the_chart_allows_what_the_program_runs() {
    let lists: BTreeSet<Vec<String>> = serde_json::from_str(FILE).unwrap();
    let program: BTreeSet<Vec<String>> =
        ALLOWED.iter().map(|list| list.iter().copied().map(str::to_owned).collect()).collect();
    assert_eq!(lists, program, "write the lists of src/domain/probe/command.rs into the chart's files/exec-argv.json");
}

/// Both YAML and CEL carry these as they are; a line break or a control character would need the escapes of both.
#[test]
fn every_word_is_printable_ascii() {
    for word in ALLOWED.iter().copied().flatten() {
        assert!(word.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{word:?}");
    }
}
