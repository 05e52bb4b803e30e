//! One look into each chosen container: exec → facts → verdict.

use std::time::Duration;

use kube::Client;

use super::{
    assess::{Agent, Target},
    pod_view::PodKey,
};
use crate::{
    domain::{
        probe::{AGENT, AGENT_WITH_CAPABILITY, CAT, Facts, MAX_OUTPUT, Memory, SH, parse, unaffordable},
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

/// What is known of a container before it is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing that would forbid it.
    Nothing,
    /// Bytes that may still be charged to its memory limit.
    Left(u64),
    /// A look got it killed, at this limit.
    Killed,
    /// The last look did not end, and its time to rest has not come to an end either.
    Hung,
}

/// How a look into a container ended, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    /// It was not made: the container does not run, or must not be looked into.
    Spared,
    /// What it showed was read.
    Through,
    /// What it showed could not be read.
    Unread,
    /// The exec failed.
    Failed,
    /// The exec did not end: a process of ours may still hang in the container.
    Hung,
}

/// A look into one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) ended: Ended,
    /// Bytes that may still be charged to its memory limit, where one was seen.
    pub(super) left: Option<u64>,
}

/// What a check of one pod gave.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    /// The pod's verdict: the worst of its containers'.
    pub(super) verdict: Verdict,
    /// And theirs, in the author's order.
    pub(super) containers: Vec<(String, Verdict)>,
    /// In the same order.
    pub(super) looks: Vec<Look>,
}

impl Checked {
    /// Whether a look did not end; `None`: there was none.
    pub(super) fn hung(&self) -> Option<bool> {
        let looks = self.looks.iter().filter(|look| look.ended != Ended::Spared);
        looks.map(|look| look.ended == Ended::Hung).reduce(|any, one| any || one)
    }
}

impl Checker {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Checks the containers one after another: never two execs in one pod.
    pub(super) async fn check(&self, key: &PodKey, targets: &[Target], before: &[Before]) -> Checked {
        let mut containers = Vec::with_capacity(targets.len());
        let mut looks = Vec::with_capacity(targets.len());
        for (n, target) in targets.iter().enumerate() {
            let before = before.get(n).copied().unwrap_or(Before::Nothing);
            let (mut verdict, look) = match target.id {
                Some(_) => self.check_one(key, target, before).await,
                None => (target.pending(), Look { ended: Ended::Spared, left: None }),
            };
            if let (Some(missed), Some(_)) = (target.missed, &target.id) {
                verdict.message = format!("{}. {}", verdict.message, missed.sentence());
            }
            looks.push(look);
            containers.push((target.container.clone(), verdict));
        }
        Checked { verdict: worst(&containers), containers, looks }
    }

    async fn check_one(&self, key: &PodKey, target: &Target, before: Before) -> (Verdict, Look) {
        let look = |ended| Look { ended, left: None };
        if let Some(sentence) = forbids(target, before) {
            return (Verdict::unknown(sentence), look(Ended::Spared));
        }
        match self.look(key, target).await {
            Ok(Ok(facts)) => {
                let left = facts.memory.and_then(|memory| left(target, memory));
                (judge(&facts, &target.wanted), Look { ended: Ended::Through, left })
            }
            Ok(Err(unreadable)) => (Verdict::unknown(unreadable), look(Ended::Unread)),
            Err(error) => {
                let hung = matches!(error, ExecError::Deadline(_));
                (Verdict::unknown(cannot_look(&error)), look(if hung { Ended::Hung } else { Ended::Failed }))
            }
        }
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

/// Why a container is not looked into, as a sentence; `None`: it may be.
pub(super) fn forbids(target: &Target, before: Before) -> Option<String> {
    let left = match before {
        Before::Nothing => None,
        Before::Left(left) => Some(left),
        Before::Killed => {
            let limit = target.memory_limit.unwrap_or_default() >> 20;
            return Some(format!(
                "the container was killed for want of memory when it was looked into, as a check is charged to its memory limit of {limit} MiB; it is not looked into until that limit changes: raise it and recreate the pod"
            ));
        }
        // As it was said when it happened, so that nothing new is written.
        Before::Hung => return Some(cannot_look(&ExecError::Deadline(DEADLINE))),
    };
    unaffordable(target.memory_limit, left)
}

/// By the limits of the container's own control group and of the object. That of a whole pod is in no file that the
/// container can see, and its other containers take from it too: what is left of it is this at most.
fn left(target: &Target, memory: Memory) -> Option<u64> {
    let by_object = target.memory_limit.map(|limit| Memory { limit: Some(limit), ..memory });
    [Some(memory), by_object].into_iter().flatten().filter_map(|memory| memory.headroom()).min()
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
    use rstest::rstest;

    use super::*;
    use crate::controller::assess::tests::target;

    #[test]
    fn what_a_container_says_stays_one_short_line() {
        assert_eq!(printable("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }

    #[rstest]
    #[case::nothing(Before::Nothing, None)]
    #[case::room(Before::Left(16 << 20), None)]
    #[case::too_little(Before::Left(15 << 20), Some("only 15 MiB are left"))]
    #[case::killed(Before::Killed, Some("memory limit of 128 MiB; it is not looked into until that limit changes"))]
    #[case::hung(Before::Hung, Some("did not end within 10 s"))]
    fn what_forbids_a_look_says_so(#[case] before: Before, #[case] says: Option<&str>) {
        let said = forbids(&Target { memory_limit: Some(128 << 20), ..target("c1") }, before);
        assert_eq!(said.is_some(), says.is_some(), "{said:?}");
        assert!(said.unwrap_or_default().contains(says.unwrap_or_default()));
    }

    #[rstest]
    #[case::no_limit(None, None, None)]
    #[case::of_the_group(None, Some(100), Some(70))]
    #[case::of_the_pod(Some(50), None, Some(20))]
    #[case::the_smaller_one(Some(50), Some(100), Some(20))]
    fn the_room_is_that_below_the_smaller_limit(
        #[case] object: Option<u64>,
        #[case] group: Option<u64>,
        #[case] expected: Option<u64>,
    ) {
        let memory = Memory { limit: group, current: 40, reclaimable: 10, swap: None, swapped: None };
        assert_eq!(left(&Target { memory_limit: object, ..target("c1") }, memory), expected);
    }
}
