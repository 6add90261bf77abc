//! What answers said, from counts to shares with their intervals.

use std::collections::BTreeMap;

use crate::hist::rank_of;
use crate::plan::Metric;
use crate::record::Said;
use crate::report::model::{FreshnessReport, MetricValue, QualityReport, QualityWindow};
use crate::statistics::share::{Share, wilson};
use crate::summary::{AGE_UNITS, Quality};
use crate::units::Quantile;

/// Each side of a 95 % interval.
const RISK: f64 = 0.025;
/// The normal quantile of that.
const Z: f64 = 1.959_964;

/// A share with Wilson's interval; none of nothing.
fn share(k: u64, n: u64) -> Option<MetricValue> {
    let share = Share { k, n };
    let interval = wilson(share, RISK);
    let (low, high) = (Some(interval.low), Some(interval.high));
    (n > 0).then(|| MetricValue { value: Some(share.value()), n, low, high })
}

/// The shares of a stretch, by the word of their metric.
fn shares(q: &Quality) -> BTreeMap<String, MetricValue> {
    let all = [
        (Metric::Accuracy, q.correct, q.labelled),
        (Metric::Agreement, q.agreed, q.compared),
        (Metric::FallbackRate, q.fallback, q.fallback_known),
    ];
    all.into_iter().filter_map(|(metric, k, n)| Some((metric.word(), share(k, n)?))).collect()
}

fn by_name(counts: &BTreeMap<String, u64>) -> BTreeMap<String, MetricValue> {
    let n = counts.values().sum();
    counts.iter().filter_map(|(name, k)| Some((name.clone(), share(*k, n)?))).collect()
}

/// A percentile of ages with the order statistics that lie around it with 95 % (normal approximation of the binomial).
fn age(q: &Quality, quantile: Quantile) -> MetricValue {
    let n = q.ages.count();
    let seconds = |rank: u64| q.ages.value_at_rank(rank).map(|age| age as f64 / AGE_UNITS);
    let (share, middle) = (quantile.share(), rank_of(quantile.share(), n) as f64);
    let half = Z * (n as f64 * share * (1.0 - share)).sqrt();
    MetricValue {
        value: q.freshness(quantile),
        n,
        low: seconds((middle - half).floor().max(1.0) as u64),
        // Beyond the oldest nothing is known: the interval has no upper end.
        high: seconds((middle + half).ceil() as u64 + 1),
    }
}

/// Everything that the answers of a stretch said.
pub(super) fn report(q: &Quality) -> QualityReport {
    let ages = || FreshnessReport {
        n: q.ages.count(),
        p50: age(q, Quantile::P50),
        p99: age(q, Quantile::P99),
        max: Some(q.ages.max() as f64 / AGE_UNITS),
        mean: q.ages.mean().map(|mean| mean / AGE_UNITS),
        overflow: q.ages.overflow(),
    };
    QualityReport {
        accuracy: q.accuracy(),
        agreement: q.agreement(),
        fallback_rate: q.fallback_rate(),
        versions: q.versions.clone(),
        shares: shares(q),
        version_shares: by_name(&q.versions),
        fallback_levels: by_name(&q.levels),
        freshness_s: (q.ages.count() > 0).then(ages),
    }
}

/// The same as metrics.
pub(super) fn metrics(q: &Quality) -> BTreeMap<String, MetricValue> {
    let mut all = shares(q);
    if q.ages.count() > 0 {
        for quantile in super::QUANTILES {
            all.insert(Metric::Freshness(Some(quantile)).word(), age(q, quantile));
        }
        all.insert(Metric::Freshness(None).word(), age(q, Quantile::P99));
        let max = Some(q.ages.max() as f64 / AGE_UNITS);
        all.insert(Metric::FreshnessMax.word(), MetricValue { value: max, n: q.ages.count(), low: None, high: None });
    }
    all
}

/// What the answers of one second said; none where they said nothing.
pub(super) fn window(said: &Said) -> Option<QualityWindow> {
    let ages = said.ages.count();
    let nothing = said.labelled + said.compared + said.fallback_known + ages == 0 && said.versions.is_empty();
    let at =
        |share: f64| super::quantile_of(&said.ages.buckets, rank_of(share, ages)).map(|age| age as f64 / AGE_UNITS);
    (!nothing).then(|| QualityWindow {
        labelled: said.labelled,
        correct: said.correct,
        compared: said.compared,
        agreed: said.agreed,
        fallback_known: said.fallback_known,
        fallback: said.fallback,
        freshness_p50_s: at(0.5),
        freshness_p99_s: at(0.99),
        versions: said.versions.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hist::Hist;

    #[test]
    fn shares_and_ages_come_with_what_they_are_worth() {
        let mut ages = Hist::new();
        (1..=1000u64).for_each(|n| ages.record(n * 60_000_000));
        let quality = Quality {
            labelled: 100,
            correct: 90,
            compared: 50,
            agreed: 50,
            fallback_known: 100,
            fallback: 3,
            versions: BTreeMap::from([("1".into(), 75), ("2".into(), 25)]),
            levels: BTreeMap::from([("0".into(), 97), ("cached".into(), 3)]),
            ages,
        };
        let r = report(&quality);
        // Wilson's interval of 90 of 100 is 0.8256 to 0.9448, and of 50 of 50 it begins at 0.9287.
        let accuracy = &r.shares["accuracy"];
        assert!((accuracy.low.unwrap() - 0.8256).abs() < 1e-3 && (accuracy.high.unwrap() - 0.9448).abs() < 1e-3);
        assert!((r.shares["agreement"].low.unwrap() - 0.9287).abs() < 1e-3);
        assert_eq!((r.version_shares["2"].value, r.fallback_levels["cached"].n), (Some(0.25), 100));
        let freshness = r.freshness_s.unwrap();
        // A thousand ages of 1 to 1000 minutes.
        assert!((freshness.p50.value.unwrap() / 30_000.0 - 1.0).abs() < 2e-3, "{freshness:?}");
        assert_eq!((freshness.max, freshness.n), (Some(60_000.0), 1000));
        assert!(freshness.p50.low < freshness.p50.value && freshness.p50.value < freshness.p50.high);
        let all = metrics(&quality);
        assert_eq!(all["freshness"], all["freshness.p99"]);
        assert_eq!(window(&Said::default()), None);
    }
}
