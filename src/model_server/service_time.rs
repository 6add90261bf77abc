//! How long a request holds its worker: a distribution as a value, its text form, and drawing from it.
//!
//! Pure. The sleeping is done by the pool.

use std::str::FromStr;
use std::time::Duration;

use rand_distr::{Distribution, Exp1, StandardNormal};

use crate::rng::{Stream, unit};
use crate::units::parse_duration;

/// The longest time that may be asked for or drawn; longer draws are cut to it.
const LONGEST: Duration = Duration::from_secs(60);

/// The distribution of the time that a request holds a worker, besides its real work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ServiceTime {
    /// No time of its own.
    None,
    /// Always the same.
    Constant(Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// Each time from the first to the second equally likely.
    Uniform(Duration, Duration),
    /// Log-normal: the median, and the standard deviation of the logarithm. Its mean is median · exp(σ²/2).
    LogNormal(Duration, f64),
}

impl ServiceTime {
    /// Draws one time, at most 60 s.
    pub fn sample(&self, rng: &mut Stream) -> Duration {
        let seconds = match *self {
            ServiceTime::None => return Duration::ZERO,
            ServiceTime::Constant(d) => return d,
            ServiceTime::Exponential(mean) => {
                let x: f64 = Exp1.sample(rng);
                mean.as_secs_f64() * x
            }
            ServiceTime::Uniform(low, high) => low.as_secs_f64() + (high - low).as_secs_f64() * unit(rng),
            ServiceTime::LogNormal(median, sigma) => {
                let z: f64 = StandardNormal.sample(rng);
                median.as_secs_f64() * (sigma * z).exp()
            }
        };
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }
}

impl FromStr for ServiceTime {
    type Err = String;

    /// Reads `none`, `constant:5ms`, `exp:5ms`, `uniform:2ms-8ms` or `lognormal:5ms,0.5`.
    fn from_str(text: &str) -> Result<ServiceTime, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let two = |separator| {
            rest.split_once(separator).ok_or_else(|| format!("`{text}` needs two values with `{separator}` between"))
        };
        match kind {
            "none" if rest.is_empty() => Ok(ServiceTime::None),
            "constant" => Ok(ServiceTime::Constant(time(rest)?)),
            "exp" => Ok(ServiceTime::Exponential(time(rest)?)),
            "uniform" => {
                let (low, high) = two('-')?;
                let (low, high) = (time(low)?, time(high)?);
                if low > high {
                    return Err(format!("`{text}`: the first time must not be above the second"));
                }
                Ok(ServiceTime::Uniform(low, high))
            }
            "lognormal" => {
                let (median, sigma) = two(',')?;
                let sigma: f64 = sigma.trim().parse().map_err(|_| format!("`{sigma}` is not a number"))?;
                if !(0.0..=5.0).contains(&sigma) {
                    return Err(format!("sigma must be between 0 and 5, got {sigma}"));
                }
                Ok(ServiceTime::LogNormal(time(median)?, sigma))
            }
            _ => Err(format!(
                "`{text}` is no service time: write none, constant:5ms, exp:5ms, uniform:2ms-8ms or lognormal:5ms,0.5"
            )),
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let d = parse_duration(text)?;
    if d > LONGEST { Err(format!("`{text}` is longer than 60s")) } else { Ok(d) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Seed;

    fn mean_ms(spec: &str) -> f64 {
        let time: ServiceTime = spec.parse().unwrap();
        let mut rng = crate::rng::stream(Seed(7), spec);
        (0..100_000).map(|_| time.sample(&mut rng).as_secs_f64() * 1e3).sum::<f64>() / 1e5
    }

    #[test]
    fn means_are_as_stated() {
        // The standard error of 100,000 draws is below 0.02 ms for each; 0.1 ms is five of them.
        let log_normal = 5.0 * (0.5f64 * 0.5 / 2.0).exp();
        let cases = [
            ("none", 0.0),
            ("constant:5ms", 5.0),
            ("exp:5ms", 5.0),
            ("uniform:2ms-8ms", 5.0),
            ("lognormal:5ms,0.5", log_normal),
        ];
        for (spec, expected) in cases {
            let got = mean_ms(spec);
            assert!((got - expected).abs() < 0.1, "{spec}: mean {got} ms, expected {expected} ms");
        }
    }

    #[test]
    fn draws_stay_in_range_and_follow_the_seed() {
        let draws = |spec: &str, seed| -> Vec<Duration> {
            let time: ServiceTime = spec.parse().unwrap();
            let mut rng = crate::rng::stream(Seed(seed), "w");
            (0..1000).map(|_| time.sample(&mut rng)).collect()
        };
        let (low, high) = (Duration::from_millis(2), Duration::from_millis(8));
        assert!(draws("uniform:2ms-8ms", 1).iter().all(|d| (low..=high).contains(d)));
        assert!(draws("lognormal:60s,5", 1).iter().all(|d| *d <= LONGEST));
        assert_eq!(draws("exp:5ms", 1), draws("exp:5ms", 1));
        assert_ne!(draws("exp:5ms", 1), draws("exp:5ms", 2));
    }

    #[test]
    fn refuses_what_is_no_service_time() {
        for bad in ["", "none:5ms", "gauss:5ms", "constant", "constant:5", "exp:2m", "uniform:8ms-2ms", "uniform:5ms"] {
            assert!(bad.parse::<ServiceTime>().is_err(), "{bad}");
        }
        for bad in ["lognormal:5ms", "lognormal:5ms,x", "lognormal:5ms,-1", "lognormal:5ms,NaN"] {
            assert!(bad.parse::<ServiceTime>().is_err(), "{bad}");
        }
    }
}
