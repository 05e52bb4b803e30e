//! Any text as a file of manifests: no panic; what was written is read again and left as it is, in every form and both
//! ways.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use memlock_operator::{
    cli::{Output, Rewrite, rewrite},
    domain::inject::{Agent, Delivery, Settings},
};

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let agent = Agent { image: "agent:1".into(), pull_policy: None, delivery: Delivery::InitContainer };
    Settings { agent: Some(agent), ..Settings::default() }
});

const OUTPUTS: [Option<Output>; 3] = [None, Some(Output::Yaml), Some(Output::Json)];

// The first byte chooses what is done and the form, the rest is the file.
fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let choice = usize::from(*choice);
    let act = if choice & 1 == 0 { Rewrite::Inject(&SETTINGS) } else { Rewrite::Uninject };
    let output = OUTPUTS[choice / 2 % OUTPUTS.len()];
    let Some(once) = rewrite(text, act, output) else { return };
    // Documents that are no objects stand side by side in no form of JSON that kubectl reads.
    if output == Some(Output::Json) && !once.starts_with('{') {
        return;
    }
    let twice = rewrite(&once, act, output);
    assert_eq!(twice.as_deref(), Some(once.as_str()), "{act:?} {output:?}");
});
