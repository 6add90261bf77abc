//! How old the features behind an answer are.

use crate::target::Scalar;

/// As the answer tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// An age, µs.
    Micros(u64),
    /// The moment at which they were made, ns since the epoch.
    MadeAt(i128),
}

impl Age {
    /// The age in µs where the wall clock says `wall_ns`. What is made in the future (clocks differ) is new: 0.
    pub fn micros(self, wall_ns: i128) -> u64 {
        match self {
            Age::Micros(us) => us,
            Age::MadeAt(at) => {
                let us = wall_ns.saturating_sub(at) / 1_000;
                if us <= 0 { 0 } else { u64::try_from(us).unwrap_or(u64::MAX) }
            }
        }
    }

    /// From seconds; none where it is no number.
    pub(super) fn of_seconds(value: &Scalar<'_>) -> Option<Age> {
        let seconds = match value {
            Scalar::Number(n) => *n,
            Scalar::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        // The cast saturates: what is older than the universe is still old.
        seconds.is_finite().then_some(Age::Micros((seconds * 1e6).max(0.0) as u64))
    }

    /// From a moment: Unix time in s, ms, µs or ns by its size, RFC 3339, or a date as HTTP headers have it.
    pub(super) fn of_timestamp(value: &Scalar<'_>) -> Option<Age> {
        let text = match value {
            Scalar::Number(n) => return unix(*n),
            Scalar::Text(text) => text.trim(),
            _ => return None,
        };
        if let Ok(n) = text.parse() {
            return unix(n);
        }
        let parsed = text.parse::<jiff::Timestamp>().ok();
        let at = parsed.or_else(|| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp()))?;
        Some(Age::MadeAt(at.as_nanosecond()))
    }
}

/// 1e11 s is the year 5138 and 1e11 ms is 1973: between them, sizes tell units.
fn unix(n: f64) -> Option<Age> {
    let unit = match n.abs() {
        n if !n.is_finite() => return None,
        n if n < 1e11 => 1e9,
        n if n < 1e14 => 1e6,
        n if n < 1e17 => 1e3,
        _ => 1.0,
    };
    Some(Age::MadeAt((n * unit) as i128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_moments() {
        let number = |n| Scalar::Number(n);
        let text = |t: &'static str| Scalar::Text(t.into());
        assert_eq!(Age::of_seconds(&number(2.5)), Some(Age::Micros(2_500_000)));
        assert_eq!(Age::of_seconds(&text(" 60 ")), Some(Age::Micros(60_000_000)));
        assert_eq!(Age::of_seconds(&number(-1.0)), Some(Age::Micros(0)));
        assert_eq!(Age::of_seconds(&text("soon")), None);
        let at = 1_700_000_000_000_000_000i128;
        for moment in [
            number(1.7e9),
            number(1.7e12),
            number(1.7e15),
            number(1.7e18),
            text("1700000000"),
            text("2023-11-14T22:13:20Z"),
            text("Tue, 14 Nov 2023 22:13:20 GMT"),
        ] {
            let age = Age::of_timestamp(&moment).unwrap_or_else(|| panic!("{moment:?}"));
            assert_eq!(age, Age::MadeAt(at), "{moment:?}");
            assert_eq!((age.micros(at + 5_000_000_000), age.micros(at - 1)), (5_000_000, 0));
        }
        // However absurd, what is old is old, and what is to come is new.
        for (moment, us) in [(-1.797e308, u64::MAX), (-1e30, u64::MAX), (1.797e308, 0)] {
            assert_eq!(Age::of_timestamp(&number(moment)).map(|age| age.micros(at)), Some(us), "{moment}");
        }
        assert_eq!(Age::of_timestamp(&text("yesterday")), None);
        assert_eq!(Age::of_timestamp(&Scalar::Null), None);
    }
}
