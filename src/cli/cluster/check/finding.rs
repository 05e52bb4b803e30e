//! One line of the report, and all of them.

use serde_json::{Value, json};

use crate::cli::cluster::{
    failure::Failure,
    table::{Tone, printable},
};

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// In order.
    Good,
    /// Works, with something to know.
    Warning,
    /// Could not be looked at.
    Unknown,
    /// Something is wrong.
    Wrong,
}

impl Mark {
    fn sign(self) -> (&'static str, Tone) {
        match self {
            Self::Good => ("✓", Tone::Good),
            Self::Warning => ("!", Tone::Doubtful),
            Self::Unknown => ("?", Tone::Doubtful),
            Self::Wrong => ("✗", Tone::Bad),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
        }
    }
}

/// What was looked at, how it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at: one of a few words that stay.
    check: &'static str,
    pub(super) mark: Mark,
    sentence: String,
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn new(check: &'static str, mark: Mark, sentence: impl Into<String>) -> Self {
        Self { check, mark, sentence: sentence.into(), remedy: None }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// Neither good nor wrong: the answer was no answer.
    pub(super) fn unreadable(check: &'static str, failure: &Failure) -> Self {
        if failure.is_forbidden() {
            let finding = Self::new(check, Mark::Unknown, format!("not allowed to read: {failure}"));
            return finding.remedy("let somebody with that right check it");
        }
        Self::new(check, Mark::Unknown, failure.to_string()).remedy("try again")
    }

    pub(super) fn line(&self, paints: bool) -> String {
        let (sign, tone) = self.mark.sign();
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{} {:<14} {}", tone.paint(sign, paints), self.check, printable(&format!("{}{remedy}", self.sentence)))
    }
}

fn count(findings: &[Finding], mark: Mark) -> usize {
    findings.iter().filter(|finding| finding.mark == mark).count()
}

/// 0 all well, 1 something is wrong, 3 nothing was found wrong but not everything could be looked at.
pub(super) fn exit_code(findings: &[Finding]) -> u8 {
    match (count(findings, Mark::Wrong), count(findings, Mark::Unknown)) {
        (1.., _) => 1,
        (0, 1..) => 3,
        (0, 0) => 0,
    }
}

pub(super) fn summary(findings: &[Finding]) -> String {
    let said = [Mark::Good, Mark::Warning, Mark::Unknown, Mark::Wrong].map(|mark| (count(findings, mark), mark.word()));
    let said: Vec<String> = said.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    let verdict = match exit_code(findings) {
        0 => "all well",
        1 => "something is wrong",
        _ => "nothing was found wrong, but not everything could be looked at",
    };
    format!("{verdict}: {}", said.join(", "))
}

pub(super) fn to_json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "check": finding.check,
            "result": finding.mark.word(),
            "message": finding.sentence,
            "remedy": finding.remedy,
        })
    };
    json!({ "healthy": exit_code(findings) == 0, "checks": findings.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn findings(marks: &[Mark]) -> Vec<Finding> {
        marks.iter().map(|mark| Finding::new("webhook", *mark, "words").remedy("do this")).collect()
    }

    #[rstest]
    #[case(&[Mark::Good, Mark::Warning], 0, "all well: 1 ok, 1 warning")]
    #[case(&[Mark::Good, Mark::Unknown], 3, "nothing was found wrong, but not everything could be looked at: 1 ok, 1 unknown")]
    #[case(&[Mark::Unknown, Mark::Wrong], 1, "something is wrong: 1 unknown, 1 wrong")]
    fn what_could_not_be_looked_at_is_not_well(#[case] marks: &[Mark], #[case] code: u8, #[case] said: &str) {
        let findings = findings(marks);
        assert_eq!((exit_code(&findings), summary(&findings).as_str()), (code, said));
        assert_eq!(to_json(&findings)["healthy"], code == 0);
    }

    #[test]
    fn a_line_ends_with_its_remedy() {
        let [finding] = findings(&[Mark::Wrong]).try_into().unwrap();
        assert_eq!(finding.line(false), "✗ webhook        words; do this");
        assert_eq!(finding.line(true), "\u{1b}[31m✗\u{1b}[0m webhook        words; do this");
    }
}
