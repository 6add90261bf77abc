//! Newtypes for quantities that look alike, so that a rate never stands where a ratio belongs.
//!
//! Owns: their ranges, their text forms, their parsing. Leaves alone: time itself (`clock.rs`) and
//! everything the quantities are used for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds since the start of the run: the one time axis of load, faults, probes and platform
/// events. Zero is the instant at which the first phase begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(pub u64);

impl Offset {
    /// The start of the run.
    pub const ZERO: Offset = Offset(0);

    /// From seconds; anything below zero is zero.
    pub fn from_secs_f64(seconds: f64) -> Offset {
        Offset((seconds.max(0.0) * 1e9).round() as u64)
    }

    /// Seconds since the start of the run.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This much time after zero.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// `self - earlier`, or zero when `earlier` is later.
    pub fn since(self, earlier: Offset) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Offset {
    fn from(d: Duration) -> Offset {
        Offset(d.as_nanos() as u64)
    }
}

impl std::ops::Add<Duration> for Offset {
    type Output = Offset;
    fn add(self, d: Duration) -> Offset {
        Offset(self.0 + d.as_nanos() as u64)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.as_secs_f64())
    }
}

/// Requests per second: finite and above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Rate(f64);

impl Rate {
    /// The highest rate that a scenario may ask for. One machine does not offer more, and a typing
    /// error should not become an hour of planning.
    pub const MAX: f64 = 10_000_000.0;

    /// # Errors
    /// Says what is wrong when the number is not finite, not above zero, or above [`Rate::MAX`].
    pub fn per_second(value: f64) -> Result<Rate, String> {
        if value.is_nan() || value.is_infinite() {
            Err(format!("must be a finite number, got {value}"))
        } else if value <= 0.0 {
            Err(format!("must be above 0, got {value}"))
        } else if value > Rate::MAX {
            Err(format!("must be at most {} per second, got {value}", Rate::MAX))
        } else {
            Ok(Rate(value))
        }
    }

    /// Requests per second.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A share between 0 and 1, both included.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Ratio(f64);

impl Ratio {
    /// # Errors
    /// Says what is wrong when the number is not within 0 and 1.
    pub fn new(value: f64) -> Result<Ratio, String> {
        if (0.0..=1.0).contains(&value) {
            Ok(Ratio(value))
        } else {
            Err(format!("must be between 0 and 1, got {value}"))
        }
    }

    /// The share, 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A quantile, kept in hundred-thousandths so that `p99.99` is exact and can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Quantile(u32);

impl Quantile {
    /// The median.
    pub const P50: Quantile = Quantile(50_000);
    /// The 90th percentile.
    pub const P90: Quantile = Quantile(90_000);
    /// The 95th percentile.
    pub const P95: Quantile = Quantile(95_000);
    /// The 99th percentile.
    pub const P99: Quantile = Quantile(99_000);
    /// The 99.9th percentile.
    pub const P99_9: Quantile = Quantile(99_900);
    /// The 99.99th percentile.
    pub const P99_99: Quantile = Quantile(99_990);

    /// As a share: `p99` is 0.99.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 100_000.0
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", f64::from(self.0) / 1000.0)
    }
}

impl FromStr for Quantile {
    type Err = String;

    /// Reads `p50` … `p99.99`.
    fn from_str(s: &str) -> Result<Quantile, String> {
        let problem = || format!("`{s}` is not a percentile: write p50 … p99.99");
        let number: f64 = s.strip_prefix('p').and_then(|n| n.parse().ok()).ok_or_else(problem)?;
        let thousandths = (number * 1000.0).round();
        if !(50_000.0..=99_990.0).contains(&thousandths) || (thousandths / 1000.0 - number).abs() > 1e-9 {
            return Err(problem());
        }
        Ok(Quantile(thousandths as u32))
    }
}

/// Where every random choice of a run comes from; see `rng.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u64);

/// Index of a phase in its plan.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PhaseId(pub u16);

/// Reads a duration string of the scenario language: a number and one of `ns us ms s m h`, several
/// in a row allowed (`"1m30s"`).
///
/// # Errors
/// Says what is wrong and what to write instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let help = "write a number with a unit (ns, us, ms, s, m, h, d), for example \"250ms\", \"30s\" or \"1m30s\"";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("an empty duration: {help}"));
    }
    let mut nanos = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(letters);
        let value: f64 = number.parse().map_err(|_| format!("`{text}` is not a duration: {help}"))?;
        let scale = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            "" => return Err(format!("`{text}` has no unit: {help}")),
            other => return Err(format!("`{text}`: unknown unit `{other}`: {help}")),
        };
        nanos += value * scale;
        rest = next;
    }
    if nanos > 1e18 {
        return Err(format!("`{text}` is longer than thirty years"));
    }
    Ok(Duration::from_nanos(nanos.round() as u64))
}

/// A duration as a person would write it: `250ms`, `1.5s`, `20s`, `5m`, `1h30m`.
pub fn show_duration(d: Duration) -> String {
    let trim = |x: f64| {
        let s = format!("{x:.3}");
        s.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let nanos = d.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}us", trim(nanos as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", trim(nanos as f64 / 1e6)),
        _ if d.as_secs() < 120 || !nanos.is_multiple_of(1_000_000_000) => format!("{}s", trim(d.as_secs_f64())),
        _ => {
            let s = d.as_secs();
            let part = |n: u64, unit: &str| if n > 0 { format!("{n}{unit}") } else { String::new() };
            format!("{}{}{}", part(s / 3600, "h"), part(s / 60 % 60, "m"), part(s % 60, "s"))
        }
    }
}

/// Bytes as a person would write them: `256MiB`, `1.5GiB`, `1000B`.
pub fn show_bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = (n.max(1).ilog2() / 10).min(4);
    let text = format!("{:.1}", n as f64 / (1u64 << (10 * step)) as f64);
    format!("{}{}", text.strip_suffix(".0").unwrap_or(&text), UNITS[step as usize])
}

/// A measured duration, to three digits: `151 µs`, `1.80 s`. For people only; what is written in a scenario is shown by
/// [`show_duration`].
pub fn show_measured(d: Duration) -> String {
    let s = d.as_secs_f64();
    let (value, unit) = match s {
        _ if s < 1e-3 => (s * 1e6, "µs"),
        _ if s < 1.0 => (s * 1e3, "ms"),
        _ => (s, "s"),
    };
    let digits = if value >= 100.0 || value == 0.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_show() {
        for (text, nanos) in [
            ("250ms", 250_000_000),
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5s", 1_500_000_000),
            ("10us", 10_000),
            ("2h", 7_200_000_000_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_nanos(nanos), "{text}");
            assert_eq!(parse_duration(&show_duration(Duration::from_nanos(nanos))).unwrap().as_nanos() as u64, nanos);
        }
        for bad in ["", "5", "5 parsecs", "ms", "-3s", "1..2s", "NaNs"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn measured_durations_have_three_digits() {
        for (nanos, text) in [(150_784, "151 µs"), (1_800_000_000, "1.80 s"), (93_003_000, "93.0 ms"), (0, "0 µs")] {
            assert_eq!(show_measured(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn rates_refuse_what_is_no_rate() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e12] {
            assert!(Rate::per_second(bad).is_err(), "{bad}");
        }
        assert_eq!(Rate::per_second(0.5).unwrap().get(), 0.5);
    }

    #[test]
    fn quantiles_are_exact() {
        assert_eq!("p99.99".parse::<Quantile>().unwrap(), Quantile::P99_99);
        assert_eq!(Quantile::P99_9.to_string(), "p99.9");
        assert!("p100".parse::<Quantile>().is_err());
        assert!("99".parse::<Quantile>().is_err());
    }
}
