//! The environment that the image gives to the process, read from where it is set.

const CONTAINERFILE: &str = include_str!("../../Containerfile");

pub(crate) fn environment() -> Vec<(&'static str, &'static str)> {
    let lines = CONTAINERFILE.lines().filter_map(|line| line.strip_prefix("ENV "));
    let set: Vec<_> = lines.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('=')).collect();
    assert!(
        set.iter().any(|(name, _)| name.starts_with("MALLOC_")),
        "the image says how memory is given back: {set:?}"
    );
    set
}
