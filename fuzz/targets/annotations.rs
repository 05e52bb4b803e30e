//! Any annotations: no panic, and every refusal and warning names its key.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use memlock_operator::domain::{annotations, intent, names};

fuzz_target!(|data: &str| {
    let pairs = data.split('\n').filter_map(|line| line.split_once('='));
    let mut all: BTreeMap<String, String> =
        pairs.map(|(key, value)| (format!("{}{key}", names::PREFIX), value.to_owned())).collect();
    all.entry(names::SWAP_DEVICE.to_owned()).or_insert_with(|| "true".to_owned());
    match intent::parse(&all) {
        Ok(Some(intent)) => drop(intent.targets(&all, &["a", "b"])),
        Ok(None) => {}
        Err(error) => assert!(error.to_string().contains(names::PREFIX)),
    }
    for warning in annotations::unknown(&all) {
        assert!(warning.contains(names::PREFIX));
    }
});
