//! Completion by kubectl's convention: an executable `kubectl_complete-memlock`, which gets the words typed so far and
//! prints candidates and a directive, as cobra's `__complete` does.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, Args, CommandFactory};

use super::Plugin;

/// The command that the script calls; cobra's own name for it.
pub(super) const COMMAND: &str = "__complete";

/// Candidates are all there is, no files: cobra's `ShellCompDirectiveNoFileComp`.
const NO_FILES: &str = ":4";
/// cobra's `ShellCompDirectiveDefault`: the shell offers files.
const FILES: &str = ":0";

/// `kubectl memlock __complete WORD...`
#[derive(Debug, Args)]
pub(super) struct CompleteArgs {
    /// The words after "kubectl memlock"; the last one is being typed and may be empty.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

const SCRIPT: &str = "#!/usr/bin/env sh
# kubectl calls this for the words after \"kubectl memlock\". Save it as kubectl_complete-memlock on the PATH, executable.
exec kubectl memlock __complete \"$@\"
";

pub(super) fn script() -> ExitCode {
    print(SCRIPT)
}

pub(super) fn complete(args: &CompleteArgs) -> ExitCode {
    print(&candidates(&args.words))
}

fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    // A shell that has enough is none of our business.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::SUCCESS
}

fn candidates(words: &[String]) -> String {
    let mut root = Plugin::command();
    root.build();
    let (typed, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    for word in before {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let flag = |word: &str| {
        let name = word.trim_start_matches('-');
        let mut arguments = command.get_arguments().filter(|_| word.starts_with('-'));
        arguments
            .find(|arg| arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name == short.to_string()))
    };
    let awaited = before.last().and_then(|word| flag(word)).filter(|arg| arg.get_action().takes_values());
    let (mut found, directive): (Vec<(String, String)>, &str) = if let Some(arg) = awaited {
        let values = values(arg);
        let directive = if values.is_empty() { FILES } else { NO_FILES };
        (values, directive)
    } else if typed.starts_with('-') {
        let long = |arg: &Arg| Some((format!("--{}", arg.get_long()?), about(arg.get_help())));
        (command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(long).collect(), NO_FILES)
    } else {
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        (visible.map(|command| (command.get_name().to_owned(), about(command.get_about()))).collect(), NO_FILES)
    };
    found.retain(|(word, _)| word.starts_with(typed));
    let lines: Vec<String> = found.iter().map(|(word, help)| format!("{word}\t{help}\n")).collect();
    format!("{}{directive}\n", lines.concat())
}

fn values(arg: &Arg) -> Vec<(String, String)> {
    let possible = arg.get_possible_values();
    possible.iter().map(|value| (value.get_name().to_owned(), about(value.get_help()))).collect()
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn complete(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        candidates(&words).lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }

    #[rstest]
    #[case(&["s"], &["status", ":4"])]
    #[case(&["status", "-o", ""], &["table", "wide", "json", "yaml", "name", ":4"])]
    #[case(&["status", "--all"], &["--all-namespaces", ":4"])]
    #[case(&["--kubeconfig", ""], &[":0"])]
    #[case(&["explain", "--li"], &["--live", ":4"])]
    fn words_are_completed(#[case] words: &[&str], #[case] expected: &[&str]) {
        assert_eq!(complete(words), expected);
    }

    #[test]
    fn nothing_hidden_is_offered() {
        let offered = complete(&[""]);
        assert!(offered.contains(&"check".to_owned()) && !offered.contains(&COMMAND.to_owned()), "{offered:?}");
    }
}
