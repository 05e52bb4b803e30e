//! How many values a text of JSON holds: each of them costs memory when it is read, an object of one member a hundred
//! times its text.

/// The most that a pod may hold. One with 500 containers of 10 variables each has 12,000.
pub(super) const MOST: usize = 50_000;
/// A shorter text cannot hold enough to matter, and is not looked through.
const SHORT: usize = 128 * 1024;

/// Whether it holds more than is read.
pub(super) fn too_many(json: &str) -> bool {
    json.len() > SHORT && count(json.as_bytes()) > MOST
}

/// Commas, and what opens a list or an object, outside of strings.
fn count(json: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b',' | b'[' | b'{' if !inside => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_what_stands_in_text_is_not() {
        assert_eq!(count(br"7"), 1);
        assert_eq!(count(br#"{"a":[1,2,3],"b":{"c":"d"}}"#), 1 + 1 + 3 + 2);
        assert_eq!(count(br#"{"a":"[,{\",{","b":"\\"}"#), 3);
    }

    #[test]
    fn a_long_text_of_many_values_is_too_much() {
        let zeros = |n: usize| format!("[{}0]", "0,".repeat(n));
        assert!(!too_many(&zeros(MOST - 3)) && zeros(MOST).len() < SHORT);
        assert!(too_many(&zeros(2 * MOST)));
        assert!(!too_many(&format!("[\"{}\"]", ",".repeat(2 * MOST))));
    }
}
