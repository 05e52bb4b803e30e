//! Any text as a file of manifests: no panic, and what was written is read again and left as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlock_operator::{
    cli::rewrite,
    domain::inject::{Agent, Delivery, Settings},
};

fuzz_target!(|data: &str| {
    let agent = Agent { image: "agent:1".into(), pull_policy: None, delivery: Delivery::InitContainer };
    let settings = Settings { agent: Some(agent), ..Settings::default() };
    if let Some(once) = rewrite(data, &settings) {
        let twice = rewrite(&once, &settings);
        assert_eq!(twice.as_deref(), Some(once.as_str()));
    }
});
