//! The pages and what stands in their code blocks. Read by the check of every run and by the end-to-end test, which
//! executes what is marked `sh` or `console`.

#![allow(dead_code, reason = "two tests share this file, and each takes a part of it")]

use std::path::Path;

pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a page takes for granted when it is read from its top.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Nothing is installed.
    Nothing,
    /// The operator, and a `StatefulSet` that has not opted in.
    Installed,
    /// The operator, that `StatefulSet` opted in and locked, and a pod that has opted in and does not lock.
    OptedIn,
}

/// The pages with commands, in the order in which they are executed.
pub const PAGES: [(&str, Start); 30] = [
    ("README.md", Start::Nothing),
    ("charts/memlock-operator/README.md", Start::Nothing),
    ("docs/install.md", Start::Nothing),
    ("docs/opt-in.md", Start::Installed),
    ("examples/README.md", Start::Installed),
    ("docs/cli.md", Start::Installed),
    ("docs/containers.md", Start::Installed),
    ("docs/supply-chain.md", Start::Installed),
    ("docs/results.md", Start::OptedIn),
    ("docs/kubectl.md", Start::OptedIn),
    ("docs/security.md", Start::OptedIn),
    ("docs/metrics.md", Start::OptedIn),
    ("docs/runbooks/README.md", Start::OptedIn),
    ("docs/runbooks/MemlockNotLocked.md", Start::OptedIn),
    ("docs/runbooks/MemlockUnknown.md", Start::OptedIn),
    ("docs/runbooks/MemlockPending.md", Start::OptedIn),
    ("docs/runbooks/MemlockPodsRefused.md", Start::OptedIn),
    ("docs/runbooks/MemlockWebhookCallsFail.md", Start::OptedIn),
    ("docs/runbooks/MemlockWebhookDown.md", Start::OptedIn),
    ("docs/runbooks/MemlockWebhookNotRedundant.md", Start::OptedIn),
    ("docs/runbooks/MemlockWebhookSlow.md", Start::OptedIn),
    ("docs/runbooks/MemlockControllerDown.md", Start::OptedIn),
    ("docs/runbooks/MemlockNobodyLeads.md", Start::OptedIn),
    ("docs/runbooks/MemlockCertificateExpires.md", Start::OptedIn),
    ("docs/runbooks/MemlockCertificateRejected.md", Start::OptedIn),
    ("docs/runbooks/MemlockAuthorityNotTrusted.md", Start::OptedIn),
    ("docs/runbooks/MemlockVersionsDiffer.md", Start::OptedIn),
    ("docs/runbooks/MemlockChecksStopped.md", Start::OptedIn),
    ("docs/troubleshooting.md", Start::OptedIn),
    ("docs/operations.md", Start::OptedIn),
];

/// Words in capitals that a reader replaces.
pub const PLACEHOLDERS: [&str; 12] = [
    "NAME",
    "POD",
    "NAMESPACE",
    "REGISTRY",
    "REPOSITORY",
    "TAG",
    "DIGEST",
    "OWNER",
    "CONTROLLER",
    "DEPLOYMENT",
    "DEVICE",
    "IMAGE",
];

/// Words in capitals that stand for themselves.
const LITERALS: [&str; 2] = ["IPC_LOCK", "STATUS"];

/// What a fence says of its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `sh`: a script.
    Script,
    /// `console`: commands behind `$ `, and what they say.
    Session,
    /// Shown, not executed.
    Shown,
}

#[derive(Debug)]
pub struct Block {
    /// Of the opening fence.
    pub line: usize,
    pub kind: Kind,
    /// `sh fails`, `console fails`: its last command does not succeed.
    pub fails: bool,
    pub text: String,
}

pub fn read(page: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(page)).unwrap_or_else(|e| panic!("{page} cannot be read: {e}"))
}

/// The blocks of a page, or the line whose fence says nothing that is known.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let text = read(page);
    let mut found = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (at, line) in (1..).zip(text.lines()) {
        let Some(word) = line.trim_start().strip_prefix("```") else {
            if let Some((block, indent)) = &mut open {
                let blank = line.len() - line.trim_start().len();
                block.text.push_str(line.get(blank.min(*indent)..).unwrap_or_default());
                block.text.push('\n');
            }
            continue;
        };
        if let Some((block, _)) = open.take() {
            found.push(block);
            continue;
        }
        let (kind, fails) = match word.trim() {
            "sh" => (Kind::Script, false),
            "sh fails" => (Kind::Script, true),
            "console" => (Kind::Session, false),
            "console fails" => (Kind::Session, true),
            "text" | "yaml" | "json" => (Kind::Shown, false),
            other => {
                return Err(format!(
                    "{page}:{at}: a code block is marked {other:?}, not sh, console, text, yaml or json"
                ));
            }
        };
        let indent = line.len() - line.trim_start().len();
        open = Some((Block { line: at, kind, fails, text: String::new() }, indent));
    }
    if let Some((block, _)) = open {
        Err(format!("{page}:{}: the code block does not end", block.line))
    } else {
        Ok(found)
    }
}

impl Block {
    /// The commands, each with the lines it is said to print.
    pub fn steps(&self) -> Vec<(String, Vec<String>)> {
        match self.kind {
            Kind::Shown => Vec::new(),
            Kind::Script => vec![(self.text.clone(), Vec::new())],
            Kind::Session => {
                let mut steps: Vec<(String, Vec<String>)> = Vec::new();
                for line in self.text.lines().filter(|line| !line.trim().is_empty()) {
                    if let Some(command) = line.strip_prefix("$ ") {
                        steps.push((command.to_owned(), Vec::new()));
                    } else if let Some((command, said)) = steps.last_mut() {
                        if said.is_empty() && command.ends_with('\\') {
                            command.push('\n');
                            command.push_str(line);
                        } else {
                            said.push(line.to_owned());
                        }
                    }
                }
                steps
            }
        }
    }
}

/// Words in capitals of a command, with their places; not variables, and nothing in comments.
pub fn capitals(command: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    for line in command.split_inclusive('\n') {
        let code = line.split(" #").next().unwrap_or_default();
        let bytes = code.as_bytes();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let mut from = 0;
        while let Some(start) = bytes.iter().skip(from).position(is_word).map(|more| from + more) {
            let end = bytes.iter().skip(start).position(|byte| !is_word(byte)).map_or(bytes.len(), |more| start + more);
            from = end;
            let word = code.get(start..end).unwrap_or_default();
            let capital = word.len() > 1
                && word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let variable = code.get(..start).is_some_and(|before| before.ends_with(['$', '{']) && before.contains('$'))
                || code.get(end..).is_some_and(|after| after.starts_with('='));
            if capital && !variable {
                found.push((at + start, word.to_owned()));
            }
        }
        at += line.len();
    }
    found
}

/// Those that are neither to be replaced nor known to stand for themselves.
pub fn unmapped(command: &str) -> Vec<String> {
    let words = capitals(command).into_iter().map(|(_, word)| word);
    words.filter(|word| !PLACEHOLDERS.contains(&word.as_str()) && !LITERALS.contains(&word.as_str())).collect()
}
