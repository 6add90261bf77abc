//! Within-run intervals: circular block bootstrap over the seconds of a span. Pure.
//!
//! Owns the interval that is shown beside a value, and its limits. Leaves alone verdicts (`objective.rs`).
//!
//! Requests are not independent: load and service wander over seconds, so that an interval that takes each request for a
//! sample of its own is far too narrow. Here whole blocks of neighbouring seconds are drawn with replacement
//! (Künsch 1989; circular: Politis & Romano 1992) and pooled. The interval speaks of this run only; it is a floor for
//! what another run would show.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use crate::hist::{bucket_of, bucket_top, rank_of};
use crate::rng::{below, stream};
use crate::summary::SecondStats;
use crate::units::{Quantile, Seed};

/// Resamples: enough for a 95 % interval whose ends are themselves known to about a tenth of its width.
const RESAMPLES: usize = 500;
/// Shortest block, seconds.
const SHORTEST_BLOCK: usize = 10;

/// What is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Quantile over every planned arrival, seconds; what was not good is infinite.
    Latency(Quantile),
    /// Quantile over good answers, seconds.
    LatencyOk(Quantile),
    /// 1 − ok/planned.
    ErrorRate,
    /// ok/planned.
    Availability,
    /// Share of planned arrivals good within this time.
    GoodRatio(Duration),
}

/// A 95 % interval; `high` may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// 2.5th percentile of the resamples.
    pub low: f64,
    /// 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// Not a single point, and the value lies inside it, ends included.
    pub fn holds(&self, value: f64) -> bool {
        self.low < self.high && self.low <= value && value <= self.high
    }
}

/// The interval of a statistic over these seconds. Blocks are `max(10 s, 3 τ)` long, τ being the lag at which the
/// autocorrelation of the per-second medians falls below 1/e, and at most half the span. None for spans of less than two blocks of
/// 10 s, or without arrivals. The same seed gives the same interval.
pub fn block_bootstrap(statistic: Statistic, seconds: &[SecondStats], seed: Seed) -> Option<Interval> {
    if seconds.len() < 2 * SHORTEST_BLOCK {
        return None;
    }
    let block = (3 * correlation_time(seconds)).clamp(SHORTEST_BLOCK, seconds.len() / 2);
    let table = Table::new(seconds);
    let mut chance = stream(seed, "bootstrap");
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let draw = Draw::new(seconds.len(), block, |n| below(&mut chance, n));
        values.extend(table.value(statistic, &draw));
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| Some(values[rank_of(share, values.len() as u64).checked_sub(1)? as usize]);
    Some(Interval { low: at(0.025)?, high: at(0.975)? })
}

/// Seconds until the autocorrelation of the per-second medians has fallen below 1/e; at least 1. A second whose median is
/// infinite or missing takes the one before it.
fn correlation_time(seconds: &[SecondStats]) -> usize {
    let mut last = 0.0;
    let medians: Vec<f64> = seconds
        .iter()
        .map(|s| {
            let mut seen = 0;
            let rank = rank_of(0.5, s.planned);
            let found = s.latency_ok.iter().find(|(_, n)| {
                seen += u64::from(*n);
                seen >= rank && rank > 0
            });
            // The logarithm, so that one very slow second does not drown the rest.
            last = found.map_or(last, |(bucket, _)| (bucket_top(*bucket) as f64).ln());
            last
        })
        .collect();
    let mean = medians.iter().sum::<f64>() / medians.len() as f64;
    let product =
        |lag: usize| -> f64 { medians.iter().zip(&medians[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum() };
    let variance = product(0);
    // A flat series (up to rounding) has no correlation to speak of.
    if variance < 1e-12 {
        return 1;
    }
    let limit = medians.len() / 2;
    (1..limit).find(|lag| product(*lag) / variance < (-1f64).exp()).unwrap_or(limit)
}

/// Blocks of neighbouring seconds, the last cut so that together they are as long as the span.
struct Draw {
    blocks: Vec<(usize, usize)>,
}

impl Draw {
    fn new(seconds: usize, block: usize, mut below: impl FnMut(usize) -> usize) -> Draw {
        let mut left = seconds;
        let mut blocks = Vec::with_capacity(seconds.div_ceil(block));
        while left > 0 {
            let length = block.min(left);
            blocks.push((below(seconds), length));
            left -= length;
        }
        Draw { blocks }
    }

    /// Sum over the draw of a series given by its running sums (one longer than the series); blocks go around its end.
    fn sum(&self, before: &[u64]) -> u64 {
        let n = before.len() - 1;
        let of_block = |&(start, length): &(usize, usize)| match start + length {
            end if end <= n => before[end] - before[start],
            end => before[n] - before[start] + before[end - n],
        };
        self.blocks.iter().map(of_block).sum()
    }
}

/// The seconds, ready to be summed in any draw by look-ups alone.
struct Table {
    planned: Vec<u64>,
    ok: Vec<u64>,
    /// Per second: (bucket, good answers up to and including it).
    cumulated: Vec<Vec<(u16, u64)>>,
    /// Every bucket that occurs, ascending.
    buckets: Vec<u16>,
    /// Running sums of the good answers at or below a bucket. Searching a quantile asks for few of them, again and again.
    at_or_below: RefCell<HashMap<u16, Rc<Vec<u64>>>>,
}

impl Table {
    fn new(seconds: &[SecondStats]) -> Table {
        let cumulate = |second: &SecondStats| {
            let mut sum = 0;
            let add = |&(bucket, n): &(u16, u32)| {
                sum += u64::from(n);
                (bucket, sum)
            };
            second.latency_ok.iter().map(add).collect()
        };
        let mut buckets: Vec<u16> = seconds.iter().flat_map(|s| s.latency_ok.iter().map(|(b, _)| *b)).collect();
        buckets.sort_unstable();
        buckets.dedup();
        Table {
            planned: running_sums(seconds.iter().map(|s| s.planned)),
            ok: running_sums(seconds.iter().map(|s| s.ok)),
            cumulated: seconds.iter().map(cumulate).collect(),
            buckets,
            at_or_below: RefCell::default(),
        }
    }

    fn value(&self, statistic: Statistic, draw: &Draw) -> Option<f64> {
        let (planned, ok) = (draw.sum(&self.planned), draw.sum(&self.ok));
        let share = |part: u64| (planned > 0).then(|| part as f64 / planned as f64);
        match statistic {
            Statistic::Latency(q) => self.quantile(draw, rank_of(q.share(), planned)),
            Statistic::LatencyOk(q) => self.quantile(draw, rank_of(q.share(), ok)),
            Statistic::ErrorRate => share(planned.saturating_sub(ok)),
            Statistic::Availability => share(ok),
            Statistic::GoodRatio(within) => share(draw.sum(&self.good_within(bucket_of(within.as_nanos() as u64)))),
        }
    }

    /// The latency of this rank, seconds; infinite when there are fewer good answers, none for rank 0.
    fn quantile(&self, draw: &Draw, rank: u64) -> Option<f64> {
        if rank == 0 {
            return None;
        }
        let place = self.buckets.partition_point(|b| draw.sum(&self.good_within(*b)) < rank);
        Some(self.buckets.get(place).map_or(f64::INFINITY, |b| bucket_top(*b) as f64 / 1e9))
    }

    fn good_within(&self, limit: u16) -> Rc<Vec<u64>> {
        let make = || {
            let of_second = |list: &Vec<(u16, u64)>| match list.partition_point(|(b, _)| *b <= limit) {
                0 => 0,
                n => list[n - 1].1,
            };
            Rc::new(running_sums(self.cumulated.iter().map(of_second)))
        };
        Rc::clone(self.at_or_below.borrow_mut().entry(limit).or_insert_with(make))
    }
}

fn running_sums(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sum = 0;
    let add = |v: u64| {
        sum += v;
        sum
    };
    std::iter::once(0).chain(values.map(add)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::unit;

    /// A second of `planned` arrivals, `bad` of them failed, the good ones spread over ±10 % around this time.
    fn second(planned: u64, bad: u64, around_ms: f64, seed: u64) -> SecondStats {
        let mut chance = stream(Seed(seed), "second");
        let mut counts: HashMap<u16, u32> = HashMap::new();
        for _ in bad..planned {
            let ns = around_ms * 1e6 * (0.9 + 0.2 * unit(&mut chance));
            *counts.entry(bucket_of(ns as u64)).or_default() += 1;
        }
        let mut latency_ok: Vec<_> = counts.into_iter().collect();
        latency_ok.sort_unstable();
        SecondStats { planned, ok: planned - bad, latency_ok, ..SecondStats::default() }
    }

    #[test]
    fn steady_seconds_give_a_narrow_interval_around_the_truth() {
        let seconds: Vec<_> = (0..60).map(|i| second(200, 2, 10.0, i)).collect();
        let p50 = block_bootstrap(Statistic::Latency(Quantile::P50), &seconds, Seed(1)).unwrap();
        assert!(p50.low < p50.high && p50.low > 0.0098 && p50.high < 0.0102, "{p50:?}");
        let errors = block_bootstrap(Statistic::ErrorRate, &seconds, Seed(1)).unwrap();
        assert_eq!(errors, Interval { low: 0.01, high: 0.01 });
        assert!(!errors.holds(0.01), "a point holds nothing");
        let good = block_bootstrap(Statistic::GoodRatio(Duration::from_millis(20)), &seconds, Seed(1)).unwrap();
        assert_eq!(good, Interval { low: 0.99, high: 0.99 });
    }

    #[test]
    fn failures_beyond_the_quantile_make_it_infinite() {
        let seconds: Vec<_> = (0..30).map(|i| second(200, 4, 10.0, i)).collect();
        let p99 = block_bootstrap(Statistic::Latency(Quantile::P99), &seconds, Seed(1)).unwrap();
        assert!(p99.low.is_infinite() && p99.high.is_infinite());
        let ok = block_bootstrap(Statistic::LatencyOk(Quantile::P99), &seconds, Seed(1)).unwrap();
        assert!(ok.high < 0.0111, "{ok:?}");
    }

    #[test]
    fn a_wandering_service_widens_the_interval() {
        // Slow for ten seconds in every forty: independent seconds would average this out, blocks do not.
        let wander = |i: u64| if i % 40 < 10 { 40.0 } else { 10.0 };
        let seconds: Vec<_> = (0..120).map(|i| second(100, 0, wander(i), i)).collect();
        let p80 = block_bootstrap(Statistic::Latency("p80".parse().unwrap()), &seconds, Seed(3)).unwrap();
        assert!(p80.low < 0.012 && p80.high > 0.036, "{p80:?}");
        assert!(correlation_time(&seconds) > 3);
        assert_eq!(block_bootstrap(Statistic::Latency("p80".parse().unwrap()), &seconds, Seed(3)), Some(p80));
    }

    #[test]
    fn too_short_or_empty_gives_none() {
        let seconds: Vec<_> = (0..19).map(|i| second(100, 0, 10.0, i)).collect();
        assert_eq!(block_bootstrap(Statistic::ErrorRate, &seconds, Seed(1)), None);
        let empty = vec![SecondStats::default(); 40];
        for statistic in [Statistic::ErrorRate, Statistic::Latency(Quantile::P99), Statistic::LatencyOk(Quantile::P50)]
        {
            assert_eq!(block_bootstrap(statistic, &empty, Seed(1)), None);
        }
    }

    #[test]
    fn a_draw_is_as_long_as_the_span_and_goes_around_its_end() {
        let ones = running_sums(std::iter::repeat_n(1, 25));
        let mut starts = [20, 3, 24].into_iter();
        let draw = Draw::new(25, 10, |_| starts.next().unwrap());
        assert_eq!(draw.blocks, [(20, 10), (3, 10), (24, 5)]);
        assert_eq!(draw.sum(&ones), 25);
        let squares = running_sums((0..25).map(|i| i * i));
        let by_hand: u64 = (20..30).chain(3..13).chain(24..29).map(|i| (i % 25) * (i % 25)).sum();
        assert_eq!(draw.sum(&squares), by_hand);
    }
}
