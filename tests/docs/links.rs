//! Links of Markdown pages: to files of this tree, and to headings in them.

use std::{collections::HashMap, fs, path::Path};

use crate::pages::{ROOT, read};

/// Lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Every `code` between single back-ticks.
pub fn inline_code(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|(_, line)| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// `[words](target)` and `![words](target)`, with their lines; not what stands between back-ticks.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in prose(text) {
        let spoken: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for (start, _) in spoken.match_indices("](") {
            if let Some((target, _)) = spoken.get(start + 2..).and_then(|rest| rest.split_once(')')) {
                found.push((at, target.to_owned()));
            }
        }
    }
    found
}

/// What a heading is called in a link: as GitHub and mdBook do it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> Vec<String> {
    let text = read(page);
    let mut seen: HashMap<String, usize> = HashMap::new();
    let headings = prose(&text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let plain = anchor(line.trim_start_matches('#'));
            let before = seen.entry(plain.clone()).or_default();
            *before += 1;
            if *before == 1 { plain } else { format!("{plain}-{}", *before - 1) }
        })
        .collect()
}

/// `docs/x.md` and `../y.md` → `y.md`.
fn joined(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// A sentence for each link of the page that leads nowhere.
pub fn broken(page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (line, target) in targets(&read(page)) {
        if target.starts_with("https://") || target.starts_with("http://") {
            continue;
        }
        let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
        let file = if path.is_empty() { page.to_owned() } else { joined(page, path) };
        if !fs::metadata(Path::new(ROOT).join(&file)).is_ok_and(|found| found.is_file()) {
            wrong.push(format!("{page}:{line}: {target}: there is no file {file}"));
        } else if !heading.is_empty() && !anchors(&file).iter().any(|found| found == heading) {
            wrong.push(format!("{page}:{line}: {target}: {file} has no heading of this name"));
        }
    }
    wrong
}

/// What docs/SUMMARY.md lists, in its order.
pub fn listed() -> Vec<String> {
    targets(&read("docs/SUMMARY.md")).into_iter().map(|(_, target)| joined("docs/SUMMARY.md", &target)).collect()
}
