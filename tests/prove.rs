//! Proof by simulation that decisions are right as often as they say, and that the obvious ways are not.
//!
//! Pure: no socket, no clock. [`table`] makes runs by a formula and compares ways to decide; [`Night`] makes them by a queue with
//! workers, replicas and a loss, and drives [`decide`] as `gate` does. The tests here take seconds and have loose bounds; the whole,
//! which prints its tables, is `just prove`.
//! Also writes what Python compares with scipy (`tests/real/15-statistics.sh`).

use resbench::rng::{Stream, below, stream, unit};
use resbench::statistics::decision::{
    Answer, Decision, LOOK_RISK, Question, Rule, Scale, Test, Worse, another_look, decide, noise_floor,
};
use resbench::statistics::share::{self, Share};
use resbench::statistics::sign::{self, Watched};
use resbench::statistics::{
    Interval, divisive, multiple, normal, quantile, rank_sum, shift, signed_rank, special, student,
};
use resbench::units::Seed;
use serde_json::{Value, json};

/// A standard normal value (Box & Muller 1958).
fn gauss(chance: &mut Stream) -> f64 {
    (-2.0 * (1.0 - unit(chance)).ln()).sqrt() * (std::f64::consts::TAU * unit(chance)).cos()
}

// --- Ways to decide, on runs made by a formula: log metric = machine N(0, 8 %) + run N(0, 4 %).

const MACHINE: f64 = 0.08;
const RUN: f64 = 0.04;
const FLOOR: f64 = 0.03;
const CHANGES: [f64; 4] = [0.0, 0.05, 0.10, 0.20];
const WAYS: [&str; 6] =
    ["A one vs previous", "B mean + 3 sd of 20", "C 5 vs 5, two machines", "D 5 pairs", "D 7 pairs", "D 10 pairs"];
/// What was measured with 3,000 trials per cell when the methods were chosen: % flagged, rows as `CHANGES`, columns as `WAYS`.
const EXPECTED: [[f64; 6]; 4] = [
    [23.4, 0.7, 34.7, 2.0, 3.4, 3.3],
    [36.4, 1.8, 50.1, 34.2, 55.7, 74.5],
    [50.4, 4.4, 66.0, 78.7, 97.3, 99.9],
    [74.9, 20.6, 88.7, 99.7, 100.0, 100.0],
];

/// The change is flagged when the new run is more than 10 % above the one before.
fn one_against_previous(change: f64, chance: &mut Stream) -> bool {
    let mut run = || MACHINE * gauss(chance) + RUN * gauss(chance);
    let before = run();
    change.ln_1p() + run() - before > 0.10f64.ln_1p()
}

/// … above the mean of the last 20 by three standard deviations, in logarithms; each from a machine of its own.
fn against_history(change: f64, chance: &mut Stream) -> bool {
    let mut run = || MACHINE * gauss(chance) + RUN * gauss(chance);
    let history: Vec<f64> = (0..20).map(|_| run()).collect();
    let mean = history.iter().sum::<f64>() / 20.0;
    let sd = (history.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
    change.ln_1p() + run() > mean + 3.0 * sd
}

/// … when five runs on one machine are higher than five on another, by Mann-Whitney at 0.05.
fn two_machines(change: f64, chance: &mut Stream) -> bool {
    let mut five = |shift: f64| {
        let machine = MACHINE * gauss(chance);
        (0..5).map(|_| shift + machine + RUN * gauss(chance)).collect::<Vec<f64>>()
    };
    let before = five(0.0);
    rank_sum::test(&before, &five(change.ln_1p())).p_greater <= 0.05
}

/// … when pairs on one machine are higher by the signed-rank test at 0.05, and by more than 3 % in the estimate.
fn interleaved(change: f64, pairs: usize, chance: &mut Stream) -> bool {
    let differences: Vec<f64> =
        (0..pairs).map(|_| change.ln_1p() + RUN * gauss(chance) - RUN * gauss(chance)).collect();
    signed_rank::p_greater(&differences, 0.0) <= 0.05
        && signed_rank::hodges_lehmann(&differences).unwrap() > FLOOR.ln_1p()
}

/// % flagged of so many trials.
fn table(trials: usize) -> [[f64; 6]; 4] {
    let mut chance = stream(Seed(2_0), "prove:table");
    CHANGES.map(|change| {
        let mut share = |way: &dyn Fn(&mut Stream) -> bool| {
            (0..trials).filter(|_| way(&mut chance)).count() as f64 * 100.0 / trials as f64
        };
        [
            share(&|c| one_against_previous(change, c)),
            share(&|c| against_history(change, c)),
            share(&|c| two_machines(change, c)),
            share(&|c| interleaved(change, 5, c)),
            share(&|c| interleaved(change, 7, c)),
            share(&|c| interleaved(change, 10, c)),
        ]
    })
}

/// Fails where a cell lies four standard errors from what is expected; both sides are samples.
fn compare_table(got: &[[f64; 6]; 4], trials: usize) {
    for (row, change) in CHANGES.iter().enumerate() {
        for (column, way) in WAYS.iter().enumerate() {
            let (got, want) = (got[row][column], EXPECTED[row][column]);
            let share = ((got + want) / 200.0).clamp(0.005, 0.995);
            let error = 100.0 * (share * (1.0 - share) * (1.0 / trials as f64 + 1.0 / 3_000.0)).sqrt();
            assert!((got - want).abs() <= 4.0 * error, "{way} at +{change}: {got} %, expected {want} %");
        }
    }
}

#[test]
fn the_ways_to_decide_do_as_the_table_says() {
    compare_table(&table(500), 500);
}

#[test]
#[ignore = "the whole table: 3,000 trials per cell"]
fn the_whole_table() {
    let got = table(3_000);
    println!(
        "\n% flagged, 3,000 trials per cell (machines differ by 8 %, runs by 4 %)\n\n| true change | {} |",
        WAYS.join(" | ")
    );
    println!("|---|{}", "---|".repeat(WAYS.len()));
    for (change, row) in CHANGES.iter().zip(&got) {
        println!("| +{} % | {} |", change * 100.0, row.map(|v| format!("{v:.1}")).join(" | "));
    }
    compare_table(&got, 3_000);
}

// --- Nights: services played by a queue.

/// Replicas of the service, and requests that each serves at once.
const REPLICAS: usize = 4;
const WORKERS: usize = 2;
/// Seconds of service, in the median; its logarithm has this standard deviation.
const SERVICE: f64 = 0.010;
const SPREAD: f64 = 0.3;
/// Arrivals per second: 52 % of what four replicas carry, 70 % of three.
const RATE: f64 = 400.0;
const TIMEOUT: f64 = 0.060;
/// Requests before the loss of a replica, and during it.
const REQUESTS: usize = 1_000;

/// What a run measures.
#[derive(Clone, Copy)]
struct Measured {
    p50_before: f64,
    p95_during: f64,
    errors_during: f64,
}

/// Latencies of a first-come first-served queue with so many workers. `arrivals` are times between them.
fn queue(workers: usize, arrivals: &[f64], service: f64, chance: &mut Stream) -> Vec<f64> {
    let mut free = vec![0.0f64; workers];
    let mut now = 0.0;
    let latency = |gap: &f64| {
        now += gap;
        let first = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        *first = now.max(*first) + service * (SPREAD * gauss(chance)).exp();
        *first - now
    };
    let mut latencies: Vec<f64> = arrivals.iter().map(latency).collect();
    latencies.sort_by(f64::total_cmp);
    latencies
}

fn run(arrivals: &[f64], service: f64, chance: &mut Stream) -> Measured {
    let service = service * (RUN * gauss(chance)).exp();
    let (before, during) = arrivals.split_at(REQUESTS);
    let before = queue(REPLICAS * WORKERS, before, service, chance);
    let during = queue((REPLICAS - 1) * WORKERS, during, service, chance);
    let errors_during = during.iter().filter(|l| **l > TIMEOUT).count() as f64 / REQUESTS as f64;
    Measured { p50_before: before[REQUESTS / 2 - 1], p95_during: during[REQUESTS * 95 / 100 - 1], errors_during }
}

/// A night of gating: pairs of runs on one machine, made when they are asked for. Both of a pair meet the same arrivals.
struct Night {
    chance: Stream,
    service: f64,
    slower: f64,
    pairs: Vec<(Measured, Measured)>,
}

impl Night {
    const LATENCY: Question =
        Question { scale: Scale::Ratio, worse: Worse::Higher, floor: FLOOR, test: Test::SignedRank };

    fn new(number: u64, slower: f64) -> Night {
        let mut chance = stream(Seed(number), "prove:night");
        let service = SERVICE * (MACHINE * gauss(&mut chance)).exp();
        Night { chance, service, slower, pairs: Vec::new() }
    }

    fn pairs(&mut self, n: usize) -> &[(Measured, Measured)] {
        while self.pairs.len() < n {
            let chance = &mut self.chance;
            let arrivals: Vec<f64> = (0..2 * REQUESTS).map(|_| -(1.0 - unit(chance)).ln() / RATE).collect();
            let a = run(&arrivals, self.service, chance);
            let b = run(&arrivals, self.service * (1.0 + self.slower), chance);
            self.pairs.push((a, b));
        }
        &self.pairs[..n]
    }

    fn decide(&mut self, n: usize, gate: Gate) -> Vec<Decision> {
        let latency = Question { floor: gate.floor, ..Night::LATENCY };
        let errors = Question { scale: Scale::Difference, floor: 0.002, ..latency };
        type Read = fn(&Measured) -> f64;
        let all: [(Question, Read); 3] =
            [(latency, |m| m.p50_before), (latency, |m| m.p95_during), (errors, |m| m.errors_during)];
        let pairs = self.pairs(n);
        let read = |read: Read| pairs.iter().map(|(a, b)| (read(a), read(b))).collect::<Vec<_>>();
        let values: Vec<_> = all[..gate.metrics].iter().map(|(question, metric)| (*question, read(*metric))).collect();
        let asked: Vec<_> = values.iter().map(|(question, pairs)| (*question, &pairs[..])).collect();
        decide(&asked, gate.rule, LOOK_RISK)
    }

    /// The looks of `gate`: what it says in the end.
    fn gate(&mut self, gate: Gate) -> Answer {
        let [first, second] = gate.pairs;
        let mut found = self.decide(first, gate);
        if second > first && another_look(&found) {
            found = self.decide(second, gate);
        }
        let any = |answer| found.iter().any(|d| d.answer == answer);
        match () {
            () if any(Answer::Regressed) => Answer::Regressed,
            () if any(Answer::Inconclusive) => Answer::Inconclusive,
            () => Answer::NoRegression,
        }
    }
}

/// How nights are gated.
#[derive(Clone, Copy, Debug)]
struct Gate {
    rule: Rule,
    /// Of the latencies.
    floor: f64,
    metrics: usize,
    /// At the first look, and at the second.
    pairs: [usize; 2],
    /// It finds 90 % of nights that are 10 % slower.
    strong: bool,
}

const fn gate(rule: Rule, floor: f64, metrics: usize, pairs: [usize; 2], strong: bool) -> Gate {
    Gate { rule, floor, metrics, pairs, strong }
}

const GATES: [Gate; 8] = [
    gate(Rule::Lenient, FLOOR, 1, [7, 7], true),
    gate(Rule::Lenient, FLOOR, 1, [7, 15], true),
    gate(Rule::Lenient, FLOOR, 3, [7, 15], true),
    gate(Rule::Lenient, 0.05, 3, [7, 15], true),
    gate(Rule::Strict, FLOOR, 1, [7, 7], false),
    gate(Rule::Strict, FLOOR, 1, [7, 15], true),
    gate(Rule::Strict, FLOOR, 3, [7, 15], true),
    gate(Rule::Strict, 0.05, 3, [7, 15], false),
];

/// % of nights that each gate calls regressed, and inconclusive.
fn nights(n: u64, slower: f64) -> [(f64, f64); GATES.len()] {
    let mut counted = [(0.0, 0.0); GATES.len()];
    for number in 0..n {
        let mut night = Night::new(number, slower);
        for (gate, counted) in GATES.iter().zip(&mut counted) {
            match night.gate(*gate) {
                Answer::Regressed => counted.0 += 100.0 / n as f64,
                Answer::Inconclusive => counted.1 += 100.0 / n as f64,
                _ => {}
            }
        }
    }
    counted
}

/// The noise floor that A/A finds with so many pairs: the median of 100 nights, %.
fn noise(pairs: usize) -> f64 {
    let one = |number| {
        let mut night = Night::new(number, 0.0);
        let values: Vec<_> = night.pairs(pairs).iter().map(|(a, b)| (a.p50_before, b.p50_before)).collect();
        100.0 * noise_floor(Night::LATENCY, &values, LOOK_RISK).unwrap()
    };
    let mut all: Vec<f64> = (0..100).map(one).collect();
    all.sort_by(f64::total_cmp);
    all[50]
}

#[test]
fn forty_nights() {
    // Nights come from fixed seeds, so these bounds hold always or never. With 5 % true false alarms, six of 40 happen by chance once in 70.
    for (gate, (alarms, _)) in GATES.iter().zip(nights(40, 0.0)) {
        assert!(alarms <= 12.5, "{gate:?}: {alarms} % false alarms");
    }
    let power = nights(40, 0.10);
    for (gate, (power, _)) in GATES.iter().zip(power).filter(|(gate, _)| gate.strong) {
        assert!(power >= 80.0, "{gate:?}: {power} % found");
    }
}

#[test]
#[ignore = "1,000 nights without a change, 1,000 that are 10 % slower"]
fn a_thousand_nights() {
    let (same, slower) = (nights(1_000, 0.0), nights(1_000, 0.10));
    println!(
        "\n1,000 nights each: four replicas with two workers, one lost; machines differ by 8 %, runs by 4 %; 2.5 % per look\n"
    );
    println!(
        "| rule | floor | gating metrics | pairs | false alarms % | inconclusive % | +10 % found % | inconclusive % |\n|---|---|---|---|---|---|---|---|"
    );
    for ((gate, same), slower) in GATES.iter().zip(same).zip(slower) {
        let Gate { rule, floor, metrics, pairs: [first, second], .. } = gate;
        let pairs = if first == second { first.to_string() } else { format!("{first}, then {second}") };
        println!(
            "| {rule:?} | {} % | {metrics} | {pairs} | {:.1} | {:.1} | {:.1} | {:.1} |",
            floor * 100.0,
            same.0,
            same.1,
            slower.0,
            slower.1
        );
    }
    let [seven, fifteen] = [7, 15].map(noise);
    println!("\nnoise floor of p50 by A/A, median: {seven:.1} % from 7 pairs, {fifteen:.1} % from 15");
    for ((gate, same), slower) in GATES.iter().zip(same).zip(slower) {
        assert!(same.0 <= 5.0, "{gate:?}: {} % false alarms", same.0);
        if gate.strong {
            assert!(slower.0 >= 90.0, "{gate:?}: {} % found", slower.0);
        }
    }
}

// --- Numbers for Python.

/// Values with two decimals at most when `coarse`, so that there are ties and zeros.
fn values(n: usize, shift: f64, coarse: bool, chance: &mut Stream) -> Vec<f64> {
    let value = |v: f64| if coarse { (v * 2.0).round() / 2.0 } else { v };
    (0..n).map(|_| value(shift + gauss(chance))).collect()
}

fn many(n: usize, chance: &mut Stream, one: impl Fn(usize, &mut Stream) -> Value) -> Vec<Value> {
    (0..n).map(|i| one(i, chance)).collect()
}

/// An end that lies at infinity becomes null.
fn of_interval(found: Interval) -> Value {
    json!({ "low": found.low, "high": found.high, "level": found.level })
}

fn distributions(_: usize, c: &mut Stream) -> Value {
    let scale = 10f64.powf(4.0 * unit(c));
    let (a, b, p) = (scale * (0.1 + unit(c)), scale * (0.1 + unit(c)), 0.001 + 0.998 * unit(c));
    // Near the mean, where a distribution of many has all its change.
    let x = (a / (a + b) + 2.0 * (a * b / (a + b + 1.0)).sqrt() / (a + b) * gauss(c)).clamp(0.001, 0.999);
    let (t, freedom) = (3.0 * gauss(c), (1 + below(c, 40)) as f64);
    json!({ "a": a, "b": b, "x": x, "p": p, "t": t, "freedom": freedom,
        "beta": special::incomplete_beta(a, b, x), "beta_quantile": special::beta_quantile(a, b, p), "ln_gamma": special::ln_gamma(a),
        "normal_upper": normal::upper(t), "normal_quantile": normal::quantile(p),
        "student": student::cdf(t, freedom), "student_quantile": student::quantile(p, freedom) })
}

fn paired(i: usize, c: &mut Stream) -> Value {
    let coarse = i % 2 == 1;
    let n = if coarse { 3 + below(c, 9) } else { 3 + below(c, 23) };
    let d = values(n, 0.5, coarse, c);
    json!({ "d": d, "coarse": coarse, "p": signed_rank::p_greater(&d, 0.0), "estimate": signed_rank::hodges_lehmann(&d),
        "interval": of_interval(signed_rank::interval(&d, 0.025)), "sign_p": sign::p_greater(&d, 0.0),
        "sign_interval": of_interval(sign::interval(&d, 0.025)) })
}

fn unpaired(i: usize, c: &mut Stream) -> Value {
    let coarse = i % 2 == 1;
    let (a, b) = (values(3 + below(c, 12), 0.0, coarse, c), values(3 + below(c, 12), 0.7, coarse, c));
    let found = rank_sum::test(&a, &b);
    json!({ "a": a, "b": b, "exact": found.exact, "u": found.u, "p_greater": found.p_greater, "p": found.p, "shift": rank_sum::shift(&a, &b),
        "interval": of_interval(rank_sum::interval(&a, &b, 0.025)), "equal_means": student::equal_means(&a, &b) })
}

fn shares(_: usize, c: &mut Stream) -> Value {
    let mut share = || {
        let n = 1 + below(c, 300);
        Share { k: below(c, n + 1) as u64, n: n as u64 }
    };
    let (a, b) = (share(), share());
    json!({ "a": [a.k, a.n], "b": [b.k, b.n], "wilson": of_interval(share::wilson(a, 0.025)),
        "exact": of_interval(share::clopper_pearson(a, 0.025)), "difference": of_interval(share::newcombe(a, b, 0.025)) })
}

fn recoveries(_: usize, c: &mut Stream) -> Value {
    let mut group = |slower: f64| -> Vec<Watched> {
        let time = |c: &mut Stream| (-10.0 * slower * (1.0 - unit(c)).ln()).ceil();
        (0..12 + below(c, 10)).map(|_| Watched { time: time(c).min(20.0), recovered: true }).collect()
    };
    let (mut a, mut b) = (group(1.0), group(1.5));
    a.iter_mut().chain(&mut b).for_each(|w| w.recovered = w.time < 20.0);
    let found = sign::log_rank(&a, &b).unwrap();
    let plain = |group: &[Watched]| group.iter().map(|w| json!([w.time, w.recovered])).collect::<Vec<_>>();
    json!({ "a": plain(&a), "b": plain(&b), "p": found.p, "p_slower": found.p_slower })
}

fn buckets(_: usize, c: &mut Stream) -> Value {
    let mut at = 0.0;
    let all: Vec<quantile::Bucket> = (0..1 + below(c, 60))
        .map(|_| {
            at += unit(c);
            (at, below(c, 30) as u64 + 1)
        })
        .collect();
    let found = shift::QUANTILES.map(|q| quantile::quantile(&all, q));
    let against_none = shift::shift_function(std::slice::from_ref(&all), std::slice::from_ref(&all), true, &mut |_| 0);
    assert!(against_none.iter().all(|s| s.difference() == 0.0));
    json!({ "buckets": all, "q": shift::QUANTILES, "smooth": shift::QUANTILES.map(|q| quantile::harrell_davis(&all, q)), "used": found })
}

fn histories(i: usize, c: &mut Stream) -> Value {
    let mut level = 100.0;
    let mut all = Vec::new();
    for _ in 0..1 + i % 4 {
        level *= 1.0 + 0.1 * gauss(c);
        all.extend((0..4 + below(c, 40)).map(|_| level * (1.0 + 0.02 * gauss(c))));
    }
    let search = divisive::Search { min_magnitude: [0.0, 0.05][i % 2], ..Default::default() };
    let found = divisive::change_points(&all, search);
    let points: Vec<_> = found.iter().map(|p| json!([p.index, p.before, p.after, p.p])).collect();
    json!({ "series": all, "window": search.window, "p": search.p, "min_magnitude": search.min_magnitude, "points": points })
}

#[test]
#[ignore = "writes what tests/python/check_statistics.py reads, to the file that RESBENCH_NUMBERS names"]
fn numbers_for_python() {
    let path = std::env::var("RESBENCH_NUMBERS");
    let path = path.unwrap_or_else(|_| concat!(env!("CARGO_TARGET_TMPDIR"), "/numbers.json").to_owned());
    let c = &mut stream(Seed(15), "prove:numbers");
    let p = many(20, c, |_, c| {
        let p: Vec<f64> = (0..1 + below(c, 12)).map(|_| unit(c).powi(3)).collect();
        json!({ "p": p, "holm": multiple::holm(&p), "q": multiple::benjamini_hochberg(&p) })
    });
    let all = json!({
        "distributions": many(200, c, distributions), "paired": many(60, c, paired), "unpaired": many(60, c, unpaired),
        "multiple": p, "shares": many(60, c, shares), "recoveries": many(30, c, recoveries), "buckets": many(30, c, buckets),
        "histories": many(40, c, histories),
    });
    std::fs::write(path, all.to_string()).unwrap();
}
