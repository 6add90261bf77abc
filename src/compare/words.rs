//! Comparisons in sentences: one for each metric, with its interval and its evidence.

use super::Asked;
use crate::report::format::{number, time_s};
use crate::statistics::decision::{Answer, Decision, Scale, Why};

/// A change as people read it: `+12 %`, `−0.4 points`, `+120 ms`. Points are hundredths of a share.
pub(super) fn change(asked: &Asked, change: f64) -> String {
    let sign = if change < 0.0 { "−" } else { "+" };
    let size = change.abs();
    if size.is_infinite() {
        return format!("{sign}∞");
    }
    let text = match (asked.question.scale, asked.unit) {
        (Scale::Ratio, _) => format!("{} %", digits(size * 100.0)),
        (Scale::Difference, "s") => time_s(size),
        (Scale::Difference, "ratio") => format!("{} points", digits(size * 100.0)),
        (Scale::Difference, "/s") => format!("{}/s", digits(size)),
        _ => number(size),
    };
    format!("{sign}{text}")
}

/// Three digits; small numbers keep what makes them differ from 0.
fn digits(x: f64) -> String {
    match x {
        0.0 => "0".to_owned(),
        x if x >= 99.95 => format!("{x:.0}"),
        x if x >= 9.995 => format!("{x:.1}"),
        x if x >= 0.01 => format!("{x:.2}"),
        x => format!("{x:.1e}"),
    }
}

fn place(asked: &Asked) -> String {
    match (asked.of_fault, asked.place.strip_prefix("during:"), asked.place.strip_prefix("after:")) {
        (true, ..) => format!("under {}", asked.place),
        (_, Some(fault), _) => format!("during {fault}"),
        (_, _, Some(fault)) => format!("after {fault}"),
        _ => format!("in {}", asked.place),
    }
}

/// `v1's`, `the earlier nights'`.
fn of(arm: &str) -> String {
    if arm.ends_with("nights") { format!("{arm}'") } else { format!("{arm}'s") }
}

/// What was compared, in a sentence: "v2's latency.p99 in baseline is 12 % higher [+8 %, +17 %] than v1's".
pub(super) fn compared(asked: &Asked, arms: [&str; 2], found: &Decision) -> String {
    let what = format!("{} {} {}", of(arms[1]), asked.metric, place(asked));
    let Some(estimate) = found.estimate else {
        return format!("{what} cannot be compared with {}", of(arms[0]));
    };
    let size = change(asked, estimate.abs());
    let size = size.trim_start_matches('+');
    let direction = match estimate {
        e if e == f64::INFINITY => "is beyond any measure higher".to_owned(),
        e if e == f64::NEG_INFINITY => "is beyond any measure lower".to_owned(),
        0.0 => "is the same".to_owned(),
        e if e > 0.0 => format!("is {size} higher"),
        _ => format!("is {size} lower"),
    };
    let than = if estimate == 0.0 { "as" } else { "than" };
    // The whole line, which under a ratio ends at −100 %, is no interval.
    let interval = match found.interval.level >= 1.0 {
        true => " (too few pairs for an interval)".to_owned(),
        false => format!(" [{}, {}]", change(asked, found.interval.low), change(asked, found.interval.high)),
    };
    format!("{what} {direction}{interval} {than} {}", of(arms[0]))
}

/// Why the answer is what it is.
pub(super) fn why(asked: &Asked, found: &Decision, pairs: &str) -> String {
    let floor = change(asked, asked.question.floor);
    let floor = floor.trim_start_matches('+');
    let n = found.n;
    match (found.answer, found.why) {
        (Answer::Regressed, _) => format!("worse by more than {floor}, decided by {n} {pairs}"),
        (Answer::Improved, _) => format!("better by more than {floor}, decided by {n} {pairs}"),
        (Answer::NoRegression, _) => format!("not worse by {floor} or more, decided by {n} {pairs}"),
        (Answer::Inconclusive, Why::NoPairs) => format!("no {pairs} say anything about it"),
        (Answer::Inconclusive, Why::TooFewPairs { least }) => {
            let pairs = if n == 1 { pairs.trim_end_matches('s') } else { pairs };
            format!("{n} {pairs} cannot decide anything; {least} are the least that can")
        }
        (Answer::Inconclusive, Why::Adjusted) => {
            "alone it would be a regression; among all gating metrics the evidence is too thin".to_owned()
        }
        (Answer::Inconclusive, Why::Missing { values }) => {
            let missing = if values == 1 { "1 value is".to_owned() } else { format!("{values} values are") };
            format!("what is known would decide it, but {missing} missing that may be the worst")
        }
        (Answer::Inconclusive, Why::Usual { within, of }) => format!(
            "worse than the nights taken together, but not by more than {floor} than each of them ({within} of {of} lie as far out): it may \
             be the night"
        ),
        (Answer::Inconclusive, _) => {
            format!("the interval holds both a change of {floor} and none: more {pairs}, or less noise, could decide")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Metric;
    use crate::statistics::decision::{LOOK_RISK, Rule, decide};
    use crate::units::Quantile;

    fn told(asked: &Asked, pairs: &[(f64, f64)]) -> (String, String) {
        let found = decide(&[(asked.question, pairs)], Rule::Strict, LOOK_RISK)[0];
        (compared(asked, ["v1", "v2"], &found), why(asked, &found, "pairs"))
    }

    #[test]
    fn sentences() {
        let p99 = Asked::new(&Metric::Latency(Quantile::P99), "baseline".into(), Scale::Ratio, 0.05);
        let slower: Vec<(f64, f64)> = [1.10, 1.12, 1.11, 1.13, 1.09, 1.12, 1.14].map(|f| (0.1, 0.1 * f)).into();
        let (what, why) = told(&p99, &slower);
        assert_eq!(what, "v2's latency.p99 in baseline is 11.5 % higher [+10.0 %, +13.0 %] than v1's");
        assert_eq!(why, "worse by more than 5.00 %, decided by 7 pairs");
        let errors = Asked::new(&Metric::ErrorRate, "during:kill".into(), Scale::Difference, 0.002);
        let (what, why) = told(&errors, &[(0.0, 0.01); 7]);
        assert_eq!(what, "v2's error_rate during kill is 1.00 points higher [+1.00 points, +1.00 points] than v1's");
        assert_eq!(why, "worse by more than 0.20 points, decided by 7 pairs");
        let recovery = Asked::new(&Metric::RecoveryTime, "kill".into(), Scale::Difference, 0.5);
        let (what, _) = told(&recovery, &[(2.0, f64::INFINITY); 7]);
        assert_eq!(what, "v2's recovery_time under kill is beyond any measure higher [+∞, +∞] than v1's");
        let (what, _) = told(&recovery, &[(2.0, 2.0); 7]);
        assert_eq!(what, "v2's recovery_time under kill is the same [+0 s, +0 s] as v1's");
        let (what, why) = told(&recovery, &[]);
        assert_eq!(what, "v2's recovery_time under kill cannot be compared with v1's");
        assert_eq!(why, "no pairs say anything about it");
        let unknown = [[(2.0, 2.0); 8].as_slice(), &[(2.0, f64::NAN)]].concat();
        let (_, why) = told(&recovery, &unknown);
        assert_eq!(why, "what is known would decide it, but 1 value is missing that may be the worst");
        let (what, why) = told(&p99, &[(0.1, 0.2); 3]);
        assert_eq!(what, "v2's latency.p99 in baseline is 100 % higher (too few pairs for an interval) than v1's");
        assert_eq!(why, "3 pairs cannot decide anything; 6 are the least that can");
    }
}
