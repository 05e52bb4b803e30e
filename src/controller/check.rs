//! One look into each chosen container: exec → facts → verdict.

use std::time::Duration;

use kube::Client;

use super::{
    assess::{Agent, Target},
    pod_view::PodKey,
};
use crate::{
    domain::{
        probe::{AGENT, AGENT_WITH_CAPABILITY, CAT, Facts, MAX_OUTPUT, SH, parse, unaffordable},
        verdict::{Verdict, judge, worst},
    },
    platform::exec::{Command, ExecError, exec},
};

/// For one exec, from the request to the last byte.
const DEADLINE: Duration = Duration::from_secs(10);
/// Looks into containers. How many at a time is the schedule's decision.
#[derive(Clone)]
pub(super) struct Checker {
    client: Client,
}

/// Bytes that may still be charged to each target's memory limit, in the targets' order; empty: nothing is known.
pub(super) type Headroom = Vec<Option<u64>>;

/// How a look into a pod ended, at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    /// Every container was looked into, or could not afford it.
    Through,
    /// An exec failed.
    Failed,
    /// An exec did not end: a process of ours may still hang in the container.
    Hung,
}

/// What a check of one pod gave.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    /// The pod's verdict: the worst of its containers'.
    pub(super) verdict: Verdict,
    /// And theirs, in the author's order.
    pub(super) containers: Vec<(String, Verdict)>,
    /// Whether and when to try again.
    pub(super) ended: Ended,
    /// Where a limit was seen.
    pub(super) headroom: Headroom,
}

impl Checker {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Checks the containers one after another: never two execs in one pod.
    pub(super) async fn check(&self, key: &PodKey, targets: &[Target], before: &Headroom) -> Checked {
        let mut containers = Vec::with_capacity(targets.len());
        let mut ended = Ended::Through;
        let mut headroom = Headroom::with_capacity(targets.len());
        for (n, target) in targets.iter().enumerate() {
            let mut left = None;
            if target.id.is_none() {
                headroom.push(None);
                containers.push((target.container.clone(), target.pending()));
                continue;
            }
            let mut verdict = match unaffordable(target.memory_limit, before.get(n).copied().flatten()) {
                Some(sentence) => Verdict::unknown(sentence),
                None => match self.look(key, target).await {
                    Ok(Ok(facts)) => {
                        left = facts.memory.and_then(|m| m.headroom());
                        judge(&facts, &target.wanted)
                    }
                    Ok(Err(unreadable)) => Verdict::unknown(unreadable),
                    Err(error) => {
                        ended = ended.max(if matches!(error, ExecError::Deadline(_)) {
                            Ended::Hung
                        } else {
                            Ended::Failed
                        });
                        Verdict::unknown(cannot_look(&error))
                    }
                },
            };
            if let Some(missed) = target.missed {
                verdict.message = format!("{}. {missed}", verdict.message);
            }
            headroom.push(left);
            containers.push((target.container.clone(), verdict));
        }
        Checked { verdict: worst(&containers), containers, ended, headroom }
    }

    /// The agent where it is there: it reads every process. Else `cat`, which every image with it can run; where that
    /// did not see every process, the shell, if there is one. The inner error is a sentence.
    async fn look(&self, key: &PodKey, target: &Target) -> Result<Result<Facts, String>, ExecError> {
        let agent: Option<&[&str]> = match target.agent {
            Agent::Absent => None,
            Agent::Plain => Some(&AGENT),
            Agent::Launcher => Some(&AGENT_WITH_CAPABILITY),
        };
        if let Some(argv) = agent {
            match self.run(key, target, argv).await {
                // A volume without exec, or a container that lost it: the image's own programs may do.
                Err(ExecError::NotStarted(_)) => {}
                seen => return seen,
            }
        }
        let seen = self.run(key, target, &CAT).await?;
        if matches!(&seen, Ok(facts) if facts.unread_processes == 0) {
            return Ok(seen);
        }
        match self.run(key, target, &SH).await {
            Ok(Ok(facts)) => Ok(Ok(facts)),
            // Most often an image without a shell: what `cat` saw stands.
            Ok(Err(_)) | Err(ExecError::NotStarted(_)) => Ok(seen),
            Err(error) => Err(error),
        }
    }

    async fn run(&self, key: &PodKey, target: &Target, argv: &[&str]) -> Result<Result<Facts, String>, ExecError> {
        let command = Command {
            namespace: &key.namespace,
            pod: &key.name,
            container: &target.container,
            argv,
            deadline: DEADLINE,
            max_output: MAX_OUTPUT,
        };
        let output = exec(&self.client, command).await?;
        Ok(parse(&output.stdout).map_err(|error| {
            let said = output.stderr.lines().next().map(|line| format!("; it said: {}", printable(line)));
            let said = said.unwrap_or_default();
            format!("the check could not read the daemon ({error}, exit code {}{said})", output.code)
        }))
    }
}

fn cannot_look(error: &ExecError) -> String {
    let remedy = match error {
        ExecError::NotStarted(_) => "add the program cat to the image",
        ExecError::Deadline(_) => "see whether the container is frozen or the node is out of memory",
        ExecError::Refused(_) => {
            "the policy `exec` of another release refuses the checks of this one, or the controller may not create pods/exec: upgrade chart and image together, and see `kubectl memlock check`"
        }
        ExecError::Api(_) => "see whether the API server can reach the kubelet of that node",
        ExecError::TooMuchOutput(_) | ExecError::Broken | ExecError::Io(_) => "it is tried again",
    };
    format!("the check could not run: {}; {remedy}", printable(&error.to_string()))
}

/// The text comes from somebody else's container: one line, no control characters, short.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_says_stays_one_short_line() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }
}
