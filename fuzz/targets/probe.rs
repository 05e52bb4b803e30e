//! Any bytes as a probe's output, in both formats: no panic, never "locked" without every proof, and nothing in the
//! sentence that a terminal or a log would take for more than text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlock_operator::domain::{
    probe::{Facts, Process, parse},
    verdict::{State, Wanted, judge},
};

/// The kernel's own pages are some dozen kB.
const MOST_UNLOCKABLE_KB: u64 = 1024;
/// A condition's message holds more; nobody reads more.
const MOST_BYTES: usize = 2000;

fuzz_target!(|data: &[u8]| {
    let Ok(facts) = parse(data) else { return };
    assert!(!facts.processes.is_empty() && facts.unlockable_kb <= MOST_UNLOCKABLE_KB);
    let first = facts.processes.first().map(|process| process.name.clone());
    for process in [None, Some("nobody".to_owned()), first] {
        let wanted = Wanted { process, device: Some("/dev/ublkb0".to_owned()), io_flusher: true };
        let verdict = judge(&facts, &wanted);
        assert!((1..MOST_BYTES).contains(&verdict.message.len()), "{}", verdict.message);
        assert!(!verdict.message.contains(char::is_control), "{:?}", verdict.message);
        if verdict.state == State::Locked {
            proven(&facts, wanted.process.as_deref());
        }
    }
    // The last line of the agent is its proof of having come to the end; bytes that are no text stay what they are.
    if data.starts_with(b"memlock-probe ") {
        let whole = data.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        assert!(parse(&data[..whole % data.len()]).is_err(), "a cut output was read");
    }
});

/// The rule itself, by the counters or by the flags of every mapping, for each process that counts.
fn proven(facts: &Facts, only: Option<&str>) {
    assert_eq!(facts.unread_processes, 0);
    let counted: Vec<&Process> = facts.processes.iter().filter(|p| only.is_none_or(|name| p.name == name)).collect();
    assert!(!counted.is_empty());
    for process in counted {
        assert!(process.locked_kb > 0 && process.swapped_kb == 0);
        let gap = i128::from(process.size_kb) - i128::from(process.locked_kb);
        let by_counters = gap - i128::from(process.hugetlb_kb) <= i128::from(facts.unlockable_kb);
        let by_mappings = process.mappings.is_some_and(|m| m.unexplained_kb == 0 && i128::from(m.explained_kb) == gap);
        assert!(by_counters || by_mappings, "{process:?}");
        // Shared memory in swap is in no counter.
        assert!(process.mappings.map_or(facts.swapped() == Some(0), |mappings| mappings.swapped_kb == 0));
    }
}
