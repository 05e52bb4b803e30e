//! Whether a container can afford to be looked into.
//!
//! An exec is charged to the container's own memory control group: with too little room there
//! the kernel kills the biggest process of it, which is the daemon.

/// A container with a smaller memory limit is never looked into, in bytes.
const SMALLEST_LIMIT: u64 = 64 << 20;
/// Room that a look must leave, by what the last one showed, in bytes. The runtime's own part
/// of an exec takes 2 to 4 MiB for a moment, other versions of it more.
pub const SMALLEST_HEADROOM: u64 = 16 << 20;

/// Why it is not looked into, as a sentence; `None`: it can afford it.
///
/// `limit` is the container's memory limit, `headroom` what the last look showed, in bytes.
#[must_use]
pub fn unaffordable(limit: Option<u64>, headroom: Option<u64>) -> Option<String> {
    let mebibytes = |bytes: u64| bytes >> 20;
    match (limit, headroom) {
        (_, Some(left)) if left < SMALLEST_HEADROOM => Some(format!(
            "only {} MiB are left of the container's memory limit, and a check is charged to it: below {} MiB it could kill the daemon; raise the memory limit and recreate the pod",
            mebibytes(left),
            mebibytes(SMALLEST_HEADROOM)
        )),
        (Some(limit), _) if limit < SMALLEST_LIMIT => Some(format!(
            "the container's memory limit of {} MiB is too small for a check, which is charged to it and could kill the daemon; raise the limit to {} MiB or more",
            mebibytes(limit),
            mebibytes(SMALLEST_LIMIT)
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::no_limit(None, None, true)]
    #[case::just_enough(Some(64 << 20), None, true)]
    #[case::too_small(Some((64 << 20) - 1), None, false)]
    #[case::room(Some(512 << 20), Some(16 << 20), true)]
    #[case::tight(Some(512 << 20), Some((16 << 20) - 1), false)]
    #[case::tight_by_another_limit(None, Some(1), false)]
    fn who_can_afford_it(#[case] limit: Option<u64>, #[case] headroom: Option<u64>, #[case] affordable: bool) {
        assert_eq!(unaffordable(limit, headroom).is_none(), affordable);
    }
}
