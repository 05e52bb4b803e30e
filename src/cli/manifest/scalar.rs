//! What a scalar without quotes is, and which text needs quotes.
//!
//! Kubernetes reads manifests with sigs.k8s.io/yaml, which is `resolve()` of go.yaml.in/yaml/v2 (YAML 1.1 with a few
//! forms of 1.2); Compose reads YAML 1.2 booleans. What is written is quoted wherever 1.1 or 1.2 could differ.

use serde_json::{Number, Value};

use super::node::number;

/// Whose reader it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// `yes`, `on` and `y` are booleans.
    Kubernetes,
    /// Only `true` and `false` are.
    Compose,
}

/// What a plain scalar is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Plain {
    Text,
    Value(Value),
    /// `.inf` and `.nan`.
    NotFinite,
}

/// Reads a plain scalar.
pub(super) fn resolve(text: &str, schema: Schema) -> Plain {
    let boolean = |value| Plain::Value(Value::Bool(value));
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Value(Value::Null),
        "true" | "True" | "TRUE" => return boolean(true),
        "false" | "False" | "FALSE" => return boolean(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::NotFinite,
        _ => {}
    }
    if schema == Schema::Kubernetes {
        match text {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return boolean(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return boolean(false),
            _ => {}
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Plain::NotFinite;
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Plain::Text;
    }
    let digits = if text.starts_with('.') { text.to_owned() } else { text.replace('_', "") };
    let found = if text.starts_with('.') { None } else { integer(&digits) };
    found.or_else(|| float(&digits)).map_or(Plain::Text, |number| Plain::Value(Value::Number(number)))
}

/// Go's `strconv.ParseInt(text, 0, 64)`: a prefix chooses the base, and a leading zero means octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, body) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = body.to_ascii_lowercase();
    let (base, digits) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .iter()
        .find_map(|(prefix, base)| lower.strip_prefix(prefix).map(|rest| (*base, rest)))
        .unwrap_or_else(|| match lower.strip_prefix('0') {
            Some(rest) if !rest.is_empty() => (8, rest),
            _ => (10, lower.as_str()),
        });
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    let value = if negative { -value } else { value };
    // A sign keeps Go's ParseUint away: what does not fit int64 then is a float.
    let unsigned = if text.starts_with('+') { None } else { u64::try_from(value).ok().map(Number::from) };
    i64::try_from(value).ok().map(Number::from).or(unsigned)
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn float(text: &str) -> Option<Number> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (body.get(..at)?, Some(body.get(at + 1..)?)),
        None => (body, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !all_digits(whole) || !all_digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || !all_digits(exponent) {
            return None;
        }
    }
    text.parse::<f64>().ok().filter(|value| value.is_finite()).and_then(number)
}

/// Whether the text may stand without quotes, in block or (`flow`) inside brackets, for every reader.
pub(super) fn may_be_plain(text: &str, flow: bool) -> bool {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return false };
    let first_is_good = first.is_ascii_alphanumeric() || "_/.".contains(first);
    let inner_is_good = |c: char| c.is_ascii_alphanumeric() || "_-./:@+=%~$() ".contains(c) || (!flow && c == ',');
    if !first_is_good || !chars.all(inner_is_good) || text.ends_with([' ', ':']) || text.contains(": ") {
        return false;
    }
    if flow && text.contains(':') && text.contains(['(', ')', '"']) {
        return false;
    }
    !looks_typed(text)
}

/// Whether any reader of YAML 1.1 or 1.2 could see a boolean, null, number or date in it.
fn looks_typed(text: &str) -> bool {
    const WORDS: [&str; 12] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ".inf", ".nan"];
    if WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return true;
    }
    // Hexadecimal, octal, base 60, exponents, dates and times are all made of these.
    text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.chars().all(|c| c.is_ascii_hexdigit() || "_.:+-xXoOtTzZ ".contains(c))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("yes", json!(true))]
    #[case("Off", json!(false))]
    #[case("n", json!(false))]
    #[case("~", json!(null))]
    #[case("", json!(null))]
    #[case("0644", json!(420))]
    #[case("0o17", json!(15))]
    #[case("0x1F", json!(31))]
    #[case("0b11", json!(3))]
    #[case("-0b11", json!(-3))]
    #[case("1_000", json!(1000))]
    #[case("1e3", json!(1000))]
    #[case("1.5e-3", json!(0.0015))]
    #[case(".5", json!(0.5))]
    #[case("5.", json!(5))]
    #[case("+7", json!(7))]
    #[case("18446744073709551615", json!(18_446_744_073_709_551_615_u64))]
    #[case("-9223372036854775808", json!(i64::MIN))]
    fn values(#[case] text: &str, #[case] expected: Value) {
        assert_eq!(resolve(text, Schema::Kubernetes), Plain::Value(expected));
    }

    #[rstest]
    #[case("089")]
    #[case("1:30")]
    #[case("2001-01-01")]
    #[case("10Mi")]
    #[case("500m")]
    #[case("-")]
    #[case(".")]
    #[case("--flag")]
    #[case("1.2.3")]
    #[case("0x")]
    #[case("yEs")]
    #[case("1e999")]
    fn texts(#[case] text: &str) {
        // 089 is no octal number, and Go then reads it as a float.
        let expected = if text == "089" { Plain::Value(json!(89)) } else { Plain::Text };
        assert_eq!(resolve(text, Schema::Kubernetes), expected);
    }

    #[test]
    fn compose_knows_no_yes() {
        assert_eq!(resolve("yes", Schema::Compose), Plain::Text);
        assert_eq!(resolve("true", Schema::Compose), Plain::Value(json!(true)));
    }

    #[rstest]
    #[case("1e3")]
    #[case("0o7")]
    #[case("yes")]
    #[case("NULL")]
    #[case("2001-01-01")]
    #[case("2001-01-01T10:00:00Z")]
    #[case("1:30")]
    #[case("123456789012345678901234567890")]
    #[case("-1")]
    #[case("")]
    #[case(" x")]
    #[case("a: b")]
    #[case("a:")]
    #[case("#x")]
    #[case("a #x")]
    #[case("<<")]
    #[case("=")]
    #[case(".NaN")]
    #[case("*a")]
    #[case("&a")]
    #[case("!a")]
    #[case("é")]
    fn quoted(#[case] text: &str) {
        assert!(!may_be_plain(text, false));
    }

    #[rstest]
    #[case("10Mi")]
    #[case("registry.example/a/b:1.2@sha256")]
    #[case("two words")]
    #[case("/memlock/memlock")]
    fn bare(#[case] text: &str) {
        assert!(may_be_plain(text, true));
    }
}
