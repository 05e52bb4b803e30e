//! The annotation `memlock.dev/status`: what was said of each chosen container, and of which run of it.
//!
//! What a new leader must know stands in it whatever the number of containers: where that is too long, as digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{assess::Target, pod_view::PodView};
use crate::domain::{
    names,
    verdict::{Figures, State, Verdict},
};

/// Most bytes of it.
const MAX: usize = 512;
/// How much of a container id tells it from the one before a restart.
const ID_LENGTH: usize = 12;
/// In place of names that are too many: any container.
pub(super) const ANY: &str = "*";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    v: u8,
    #[serde(default)]
    pub(super) containers: BTreeMap<String, ContainerStatus>,
    /// In place of `containers` where they are too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Box<Digest>>,
    /// Containers that were killed for want of memory when they were looked into, with their limit then, in KiB: until
    /// that changes they are not looked into, whoever leads and however often they restart.
    #[serde(default, rename = "killedAtKiB", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) killed: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) state: String,
    pub(super) id: String,
    #[serde(flatten)]
    sizes: Sizes,
    /// Room below the memory limit, where it is too little for another look: a new leader must know it.
    #[serde(default, rename = "leftMiB", skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sizes {
    #[serde(rename = "lockedKiB", default, skip_serializing_if = "Option::is_none")]
    locked: Option<u64>,
    #[serde(rename = "unlockedKiB", default, skip_serializing_if = "Option::is_none")]
    unlocked: Option<u64>,
    #[serde(rename = "swappedKiB", default, skip_serializing_if = "Option::is_none")]
    swapped: Option<u64>,
}

/// Many containers in few bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Digest {
    /// Of the names and ids of all.
    ids: String,
    /// Of their states.
    states: String,
    /// Of all together.
    #[serde(flatten)]
    sizes: Sizes,
    /// Where it is too little for another look.
    #[serde(default, rename = "leftMiB", skip_serializing_if = "BTreeMap::is_empty")]
    left: BTreeMap<String, u64>,
}

impl Status {
    pub(super) fn new() -> Self {
        Self { v: 1, ..Self::default() }
    }

    pub(super) fn on(pod: &PodView) -> Option<Self> {
        serde_json::from_str(pod.annotation(names::STATUS)?).ok()
    }

    /// Whether it was said of exactly these runs of the containers, or of none that ran.
    pub(super) fn speaks_of(&self, targets: &[Target]) -> bool {
        match &self.digest {
            Some(digest) => digest.ids == ids(targets.iter().map(|target| (target.container.as_str(), id_of(target)))),
            None => {
                self.containers.is_empty()
                    || targets.iter().all(|target| {
                        let said = self.containers.get(&target.container);
                        said.is_some_and(|said| said.id.is_empty() || said.id == id_of(target))
                    })
            }
        }
    }

    /// Whether each run of a container that this is said of, one at least, is among those of the other; of more than
    /// can be named, whether they are the same.
    pub(super) fn is_of_runs_of(&self, other: &Self) -> bool {
        let (a, b) = (self.shown(), other.shown());
        if a.digest.is_some() || b.digest.is_some() {
            return a.runs() == b.runs();
        }
        let known =
            |(name, said): (&String, &ContainerStatus)| b.containers.get(name).is_some_and(|was| was.id == said.id);
        !a.containers.is_empty() && a.containers.iter().all(known)
    }

    /// The names and ids of all, as a digest.
    fn runs(&self) -> String {
        let named = || ids(self.containers.iter().map(|(name, said)| (name.as_str(), said.id.clone())));
        self.digest.as_ref().map_or_else(named, |digest| digest.ids.clone())
    }

    /// Whether it says that this run of the container was locked; `all`: whether the pod is said to be.
    pub(super) fn says_locked(&self, target: &Target, targets: &[Target], all: bool) -> bool {
        if self.digest.is_some() {
            return all && target.id.is_some() && self.speaks_of(targets);
        }
        self.containers
            .get(&target.container)
            .is_some_and(|said| said.state == State::Locked.label() && !said.id.is_empty() && said.id == id_of(target))
    }

    /// The room in this run of the container that an earlier look found too little for another one, in bytes.
    pub(super) fn left(&self, target: &Target, targets: &[Target]) -> Option<u64> {
        let mebibytes = match &self.digest {
            Some(digest) if target.id.is_some() && self.speaks_of(targets) => {
                digest.left.get(&target.container).or_else(|| digest.left.get(ANY)).copied()
            }
            Some(_) => None,
            None => {
                let said = self.containers.get(&target.container)?;
                said.left.filter(|_| target.id.is_some() && said.id == id_of(target))
            }
        };
        mebibytes.map(|left| left << 20)
    }

    /// The same states of the same containers, with figures in the same step of a tenth.
    pub(super) fn is_close_to(&self, other: &Self) -> bool {
        let (a, b) = (self.shown(), other.shown());
        let alike = match (&a.digest, &b.digest) {
            (Some(a), Some(b)) => {
                (&a.ids, &a.states, &a.left) == (&b.ids, &b.states, &b.left) && a.sizes.are_close_to(&b.sizes)
            }
            (None, None) => {
                a.containers.len() == b.containers.len()
                    && a.containers.iter().zip(&b.containers).all(|((a, x), (b, y))| a == b && x.is_close_to(y))
            }
            _ => false,
        };
        alike && a.killed == b.killed
    }

    pub(super) fn to_json(&self) -> String {
        json!(self.shown()).to_string()
    }

    /// As it stands on the pod: whole, or short.
    fn shown(&self) -> Self {
        let fits = |status: &Self| json!(status).to_string().len() <= MAX;
        if fits(self) {
            return self.clone();
        }
        let left = self.containers.iter().filter_map(|(name, said)| Some((name.clone(), said.left?))).collect();
        let mut digest = Digest {
            ids: self.runs(),
            states: ids(self.containers.iter().map(|(name, said)| (name.as_str(), said.state.clone()))),
            sizes: self.containers.values().fold(Sizes::default(), |sum, said| sum.and(said.sizes)),
            left,
        };
        let short =
            |digest: Digest, killed| Self { v: self.v, digest: Some(Box::new(digest)), killed, ..Self::default() };
        let named = short(digest.clone(), self.killed.clone());
        if fits(&named) {
            return named;
        }
        // Too many to be named: what holds for some is held against all, which forbids looks and allows none.
        let any = |named: &BTreeMap<String, u64>| named.values().min().map(|least| (ANY.to_owned(), *least));
        digest.left = any(&digest.left).into_iter().collect();
        short(digest, any(&self.killed).into_iter().collect())
    }
}

impl ContainerStatus {
    pub(super) fn new(verdict: &Verdict, id: String) -> Self {
        let figure = |pick: fn(&Figures) -> u64| verdict.figures.as_ref().map(pick);
        Self {
            state: verdict.label().to_owned(),
            id,
            sizes: Sizes {
                locked: figure(|f| f.locked_kb),
                unlocked: figure(|f| f.unlocked_kb),
                swapped: figure(|f| f.swapped_kb),
            },
            left: None,
        }
    }

    fn is_close_to(&self, other: &Self) -> bool {
        (&self.state, &self.id, self.left) == (&other.state, &other.id, other.left)
            && self.sizes.are_close_to(&other.sizes)
    }
}

impl Sizes {
    fn are_close_to(&self, other: &Self) -> bool {
        [(self.locked, other.locked), (self.unlocked, other.unlocked), (self.swapped, other.swapped)]
            .into_iter()
            .all(|(a, b)| within_a_tenth(a.unwrap_or_default(), b.unwrap_or_default()))
    }

    fn and(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        Self {
            locked: sum(self.locked, other.locked),
            unlocked: sum(self.unlocked, other.unlocked),
            swapped: sum(self.swapped, other.swapped),
        }
    }
}

/// The same for the same pairs in any order.
fn ids<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> String {
    let sorted: BTreeMap<&str, String> = pairs.collect();
    format!("{:016x}", fnv(&json!(sorted).to_string()))
}

fn id_of(target: &Target) -> String {
    target.id.as_deref().map(short_id).unwrap_or_default()
}

/// FNV-1a: the same in every release of the program and of Rust, as a name and an annotation must be.
pub(super) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// No news: what moves by less is written by nobody.
pub(super) fn within_a_tenth(a: u64, b: u64) -> bool {
    a.abs_diff(b).saturating_mul(10) <= a.max(b)
}

/// `containerd://4f2a…` → the first characters after the scheme.
pub(super) fn short_id(id: &str) -> String {
    id.rsplit("://").next().unwrap_or(id).chars().take(ID_LENGTH).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
