//! How long a provider asks us to wait, in all the forms that providers write it.

use http::HeaderMap;

use crate::base::Millis;

/// The pause asked for [ms], from the headers or else the words of an error.
///
/// In order: `retry-after-ms`; `retry-after` as seconds (whole or not), as `2m59.56s`, as an HTTP date (RFC 9110
/// §10.2.3); Groq's `x-ratelimit-reset-*` of the budget that is spent; "try again in 7.66s" in the message.
pub(super) fn asked_pause_ms(headers: &HeaderMap, message: &str, now: Millis) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    text("retry-after-ms")
        .and_then(|value| millis(value.parse::<f64>().ok()?))
        .or_else(|| text("retry-after").and_then(|value| retry_after_ms(value, text("date"), now)))
        .or_else(|| reset_ms(&text))
        .or_else(|| worded_ms(message))
}

fn retry_after_ms(value: &str, date: Option<&str>, now: Millis) -> Option<u64> {
    if let Some(ms) = duration_ms(value) {
        return Some(ms);
    }
    // The server's own clock, when it tells it, is the one its date was written by.
    let now = date.and_then(http_date).unwrap_or(now);
    Some(http_date(value)?.since(now))
}

fn http_date(value: &str) -> Option<Millis> {
    let moment = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    u64::try_from(moment.as_millisecond()).ok().map(Millis)
}

/// Groq tells when each budget refills; the spent one counts, and of two spent ones the later.
fn reset_ms<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> Option<u64> {
    ["requests", "tokens"]
        .into_iter()
        .filter(|budget| text(&format!("x-ratelimit-remaining-{budget}")) == Some("0"))
        .filter_map(|budget| duration_ms(text(&format!("x-ratelimit-reset-{budget}"))?))
        .max()
}

fn worded_ms(message: &str) -> Option<u64> {
    let rest = message.split_once("try again in ")?.1;
    let word = rest.split_whitespace().next()?;
    duration_ms(word.trim_end_matches('.'))
}

/// `7`, `7.66`, `450ms`, `2m59.56s`, `1h2m3s` as milliseconds, rounded up. A bare number is seconds.
pub(super) fn duration_ms(value: &str) -> Option<u64> {
    let value = value.trim();
    if value.starts_with(|char: char| char.is_ascii_digit() || char == '.')
        && let Ok(seconds) = value.parse::<f64>()
    {
        return millis(seconds * 1000.0);
    }
    let mut rest = value;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !(char.is_ascii_digit() || char == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|char: char| !char.is_ascii_alphabetic())
            .map_or(rest.len(), |end| digits + end);
        total_ms += number * unit_ms(&rest[digits..unit_end])?;
        rest = &rest[unit_end..];
    }
    if value.is_empty() { None } else { millis(total_ms) }
}

fn unit_ms(unit: &str) -> Option<f64> {
    match unit {
        "d" => Some(86_400_000.0),
        "h" => Some(3_600_000.0),
        "m" => Some(60_000.0),
        "s" => Some(1_000.0),
        "ms" => Some(1.0),
        "us" => Some(0.001),
        _ => None,
    }
}

/// Whole milliseconds, rounded up so that we never come early; `None` for what is no duration.
fn millis(ms: f64) -> Option<u64> {
    // A float cast saturates, so an absurd pause stays an absurd pause.
    (ms.is_finite() && ms >= 0.0).then(|| ms.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    fn asked(pairs: &[(&'static str, &str)]) -> Option<u64> {
        asked_pause_ms(&headers(pairs), "", Millis(1_445_412_480_000))
    }

    #[test]
    fn every_written_form_is_understood() {
        assert_eq!(asked(&[("retry-after", "7")]), Some(7_000));
        assert_eq!(asked(&[("retry-after", "7.66")]), Some(7_660));
        assert_eq!(asked(&[("retry-after", "2m59.56s")]), Some(179_560));
        assert_eq!(asked(&[("retry-after", "1h2m3s")]), Some(3_723_000));
        assert_eq!(asked(&[("retry-after", "450ms")]), Some(450));
        assert_eq!(asked(&[("retry-after-ms", "12.2"), ("retry-after", "9")]), Some(13));
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        assert_eq!(asked(&[("retry-after", "-1")]), None);
        assert_eq!(asked(&[("retry-after", "")]), None);
        assert_eq!(asked(&[("retry-after", "inf")]), None);
    }

    #[test]
    fn a_date_counts_from_the_servers_clock_when_it_tells_it() {
        let at = ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT");
        assert_eq!(asked(&[at]), Some(30_000));
        assert_eq!(asked(&[at, ("date", "Wed, 21 Oct 2015 07:28:20 GMT")]), Some(10_000));
        assert_eq!(asked(&[("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT")]), Some(0));
    }

    #[test]
    fn without_retry_after_the_spent_budget_tells() {
        let reset = asked(&[
            ("x-ratelimit-remaining-requests", "12"),
            ("x-ratelimit-reset-requests", "2m59.56s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "7.66s"),
        ]);
        assert_eq!(reset, Some(7_660));
    }

    #[test]
    fn the_words_are_read_last() {
        let message = "Rate limit reached. Please try again in 1m2.5s. Visit …";
        assert_eq!(asked_pause_ms(&HeaderMap::new(), message, Millis(0)), Some(62_500));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in ".{0,40}") {
            let _ = duration_ms(&text);
            let _ = worded_ms(&text);
        }

        #[test]
        fn minutes_and_seconds_add_up(minutes in 0_u64..600, seconds in 0_u64..60) {
            let text = format!("{minutes}m{seconds}s");
            prop_assert_eq!(duration_ms(&text), Some((minutes * 60 + seconds) * 1000));
        }
    }
}
