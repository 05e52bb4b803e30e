//! Any bytes as a probe's output: no panic, and never "locked" without a process that says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlock_operator::domain::{
    probe::parse,
    verdict::{State, Wanted, judge},
};

fuzz_target!(|data: &[u8]| {
    if let Ok(facts) = parse(data) {
        let verdict = judge(&facts, &Wanted::default());
        assert!(!verdict.message.is_empty());
        if verdict.state == State::Locked {
            assert!(!facts.processes.is_empty() && facts.unread_processes == 0);
            assert!(facts.processes.iter().all(|process| process.locked_kb > 0 && process.swapped_kb == 0));
        }
    }
});
