//! Sizes as the columns of `kubectl get swapdevices` show them: quantities of at most four digits.

use crate::domain::quantity;

const UNITS: [&str; 4] = ["Ki", "Mi", "Gi", "Ti"];

/// So many kB of 1,024 bytes, rounded down, and 0 only where it is nothing.
pub(super) fn of(kb: u64) -> String {
    let mut unit = 0;
    let mut tenths = u128::from(kb) * 10;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    match (whole, tenth) {
        (0, 0) => "0".to_owned(),
        (1..10, 1..) => format!("{whole}.{tenth}{unit}"),
        _ => format!("{whole}{unit}"),
    }
}

/// In bytes.
pub(super) fn parse(text: &str) -> Option<u64> {
    quantity::parse(text)
}

/// How much of how much, in kB: `1Gi/8Gi`.
pub(super) fn share(used_kb: u64, all_kb: u64) -> String {
    format!("{}/{}", of(used_kb), of(all_kb))
}

/// In bytes.
pub(super) fn parse_share(text: &str) -> Option<(u64, u64)> {
    let (used, all) = text.split_once('/')?;
    Some((parse(used)?, parse(all)?))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::controller::status::within_a_tenth;

    #[rstest]
    #[case::nothing(0, "0")]
    #[case::one(1, "1Ki")]
    #[case::below_a_unit(1023, "1023Ki")]
    #[case::a_unit(1024, "1Mi")]
    #[case::tenths(1024 + 900, "1.8Mi")]
    #[case::no_tenths_from_ten_on(10 * 1024 + 900, "10Mi")]
    #[case::as_in_the_readme(207_508, "202Mi")]
    #[case::giga(3 << 20, "3Gi")]
    #[case::most(u64::MAX, "17179869183Ti")]
    fn sizes(#[case] kb: u64, #[case] text: &str) {
        assert_eq!(of(kb), text);
    }

    /// What is read back is never more than a tenth away, so that one size does not look like two.
    #[test]
    fn what_is_shown_is_close_to_what_is() {
        for kb in (0..40).map(|n| 1_u64 << n).flat_map(|n| [n, n + n / 3, n * 2 - 1]) {
            assert!(within_a_tenth(parse(&of(kb)).unwrap(), kb * 1024), "{kb} kB as {}", of(kb));
        }
        assert_eq!(parse_share(&share(1 << 20, 8 << 20)), Some((1 << 30, 8 << 30)));
        assert_eq!(parse_share(&share(0, 0)), Some((0, 0)));
    }
}
