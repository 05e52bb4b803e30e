//! Kubernetes quantities, such as `512Mi`, as whole numbers.

/// The value rounded up, or `None` where the text is no quantity or does not fit.
///
/// Grammar: `k8s.io/apimachinery/pkg/api/resource/quantity.go`.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (times, divided) = factor(suffix)?;
    let value = digits.checked_mul(times)?.div_ceil(scale.checked_mul(divided)?);
    u64::try_from(value).ok()
}

/// What the suffix multiplies by and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let decimal = |power| Some((10_u128.checked_pow(power)?, 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1_000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => Some((1 << 10, 1)),
        "Mi" => Some((1 << 20, 1)),
        "Gi" => Some((1 << 30, 1)),
        "Ti" => Some((1 << 40, 1)),
        "Pi" => Some((1 << 50, 1)),
        "Ei" => Some((1 << 60, 1)),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
            Some(if exponent < 0 { (1, power) } else { (power, 1) })
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("512Mi", Some(512 << 20))]
    #[case("1.5Gi", Some(3 << 29))]
    #[case("128974848", Some(128_974_848))]
    #[case("129e6", Some(129_000_000))]
    #[case("12E2", Some(1200))]
    #[case("1E", Some(1_000_000_000_000_000_000))]
    #[case("129M", Some(129_000_000))]
    #[case("123450m", Some(124))]
    #[case(".5k", Some(500))]
    #[case("5.", Some(5))]
    #[case("0", Some(0))]
    #[case("", None)]
    #[case(".", None)]
    #[case("1.2.3", None)]
    #[case("-1", None)]
    #[case("1mi", None)]
    #[case("16Ei", None)]
    #[case("1e99", None)]
    fn quantities(#[case] text: &str, #[case] value: Option<u64>) {
        assert_eq!(parse(text), value);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9.eEmKMGi+-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
