//! `resbench gate FILE`: a comparison that a CI job goes by, with a history of nights.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::compare::{Job, Kept, SeriesArgs, exit_code};
use crate::cli::{USAGE, load, out};
use crate::compare::noise::{self, Noise};
use crate::compare::{Asked, fingerprint, history, pairs, stops};
use crate::plan::Plan;
use crate::report::comparison::model::{AnswerWord, Comparison, GATE, HistoryReport, Ignored, Kind, Value};
use crate::report::comparison::text;
use crate::report::history::{self as files, CALIBRATION, Calibration, History, NIGHT, Night, NoiseScale};
use crate::report::model::{Ending, Report, VerdictWord};
use crate::run::environment;
use crate::run::series::Played;
use crate::statistics::decision::LOOK_RISK;

#[derive(Args)]
pub(super) struct GateArgs {
    /// The scenario: with two `[[variant]]`s they are compared in pairs; without, tonight's runs are held against the history.
    file: PathBuf,
    #[command(flatten)]
    series: SeriesArgs,
    /// The folder of earlier nights; this night is added to it.
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Run the first variant against itself and keep the noise that it shows in the history: a smaller `min_effect` is refused there.
    #[arg(long, requires = "history")]
    calibrate: bool,
    /// Print annotations for a CI system. Default: GitHub's where GITHUB_ACTIONS is set.
    #[arg(long, value_enum)]
    annotations: Option<Annotations>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Annotations {
    Github,
    None,
}

pub(super) fn gate(args: &GateArgs) -> u8 {
    let base = match load(&args.file, &args.series.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let kind = match (args.calibrate, base.variants.len()) {
        (true, _) => Kind::Calibration,
        (_, 2) => Kind::Pairs,
        _ => Kind::History,
    };
    if kind == Kind::History && args.history.is_none() {
        out::error(&format!(
            "{}: there is nothing to hold it against: write two [[variant]] tables, or give earlier nights with --history DIR (weak \
             evidence; the folder may be empty at first)",
            args.file.display()
        ));
        return USAGE;
    }
    let here = fingerprint(&environment(&base), env!("CARGO_PKG_VERSION")).id;
    let past = match args.history.as_ref().map(|dir| files::load(dir, &base.name)).transpose() {
        Ok(past) => past,
        Err(why) => {
            out::error(&format!("the history cannot be read: {why}"));
            return USAGE;
        }
    };
    let workload = workload(args);
    let noise = match known_noise(args, &base, &here, &workload).filter(|_| kind != Kind::Calibration) {
        Some(Err(why)) => {
            out::error(&why);
            return USAGE;
        }
        Some(Ok(noise)) => noise,
        None => Noise::default(),
    };
    if !args.series.many.quiet {
        noise.mind.iter().for_each(|w| out::talk(&format!("warning: {}\n", out::safe(w))));
    }
    let job = match Job::new("gate", &args.file, base, &args.series, kind) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let (played, kept) = match job.play() {
        Ok(played) => played,
        Err(code) => return code,
    };
    let tonight = Tonight::of(&job, &played);
    let measured = (kind == Kind::Calibration).then(|| pairs::noise(&job.asked, &played.usable, LOOK_RISK));
    let mut comparison = job.conclude(GATE, played, &kept);
    let nights = past.as_ref().map(|past| Nights::of(past, &comparison));
    if let Some(nights) = nights.as_ref().filter(|_| kind == Kind::History) {
        held_against(&job, &mut comparison, nights, &tonight);
    }
    stops::weigh(&mut comparison);
    comparison.exit_code = exit_code(&comparison);
    if let Some(measured) = measured {
        calibrated(args, &mut comparison, &measured, workload);
    } else {
        for (m, floor) in comparison.metrics.iter_mut().zip(&noise.floors) {
            m.noise_floor = *floor;
        }
        comparison.warnings.extend(noise.mind);
        if let Some(nights) = nights {
            remember(args, &job, &mut comparison, nights, &tonight, &kept);
        }
    }
    let code = job.finish(&comparison, &kept);
    let github =
        args.annotations.map_or_else(|| std::env::var_os("GITHUB_ACTIONS").is_some(), |a| a == Annotations::Github);
    if github && kind != Kind::Calibration {
        // GitHub reads both streams; talk must not get into the result.
        out::talk(&text::github(&comparison));
    }
    code
}

/// What is run, as a calibration names it; empty where the file cannot be read any more.
fn workload(args: &GateArgs) -> String {
    let text = std::fs::read_to_string(&args.file).unwrap_or_default();
    noise::workload(&text, &args.series.change.sets).unwrap_or_default()
}

/// What the calibration says of the metrics that decide, or why the gate is refused; none where there is no calibration.
fn known_noise(args: &GateArgs, plan: &Plan, here: &str, workload: &str) -> Option<Result<Noise, String>> {
    let calibration = files::calibration(args.history.as_ref()?, &plan.name, here)?;
    let asked: Vec<Asked> = plan.gate.as_ref()?.metrics.iter().map(|m| Asked::gating(plan, m)).collect();
    let noise = noise::known(&calibration, &asked, workload);
    let refusal = noise::refusal(&calibration, &asked, &noise);
    Some(refusal.map_or(Ok(noise), Err))
}

/// What tonight's runs of the newest variant measured.
struct Tonight {
    values: Vec<Vec<f64>>,
    violated: bool,
}

impl Tonight {
    fn of(job: &Job<'_>, played: &Played) -> Tonight {
        let runs: Vec<&Report> = match job.kind {
            Kind::History => played.singles.iter().collect(),
            _ => played.usable.iter().map(|p| &p.1).collect(),
        };
        Tonight {
            values: job.asked.iter().map(|a| runs.iter().map(|r| a.value(r)).collect()).collect(),
            violated: runs.iter().any(|r| r.verdict == VerdictWord::Violated),
        }
    }
}

/// Keeps what a calibration measured.
fn calibrated(args: &GateArgs, c: &mut Comparison, noise: &[Option<f64>], workload: String) {
    for (m, noise) in c.metrics.iter_mut().zip(noise) {
        m.noise_floor = *noise;
    }
    if c.ending != Ending::Completed || !c.clean {
        return;
    }
    let unbounded: Vec<&str> =
        c.metrics.iter().filter(|m| m.noise_floor.is_none()).map(|m| m.metric.as_str()).collect();
    if !unbounded.is_empty() {
        c.reasons.push(format!(
            "too few usable pairs, or infinite values: the noise is not bounded for {}",
            unbounded.join(", ")
        ));
    }
    c.exit_code = if unbounded.is_empty() { 0 } else { 3 };
    let calibration = Calibration {
        schema: CALIBRATION.into(),
        started_at: c.started_at.clone(),
        scenario: c.scenario.clone(),
        fingerprint: c.fingerprint.clone(),
        pairs: c.pairs.iter().filter(|p| p.usable).count(),
        workload,
        noise_floor: c.metrics.iter().map(|m| (m.metric.clone(), m.noise_floor)).collect(),
        scales: c
            .metrics
            .iter()
            .map(|m| (m.metric.clone(), NoiseScale { relative: m.relative, unit: m.unit.clone() }))
            .collect(),
    };
    if let Some(Err(e)) = args.history.as_ref().map(|dir| files::keep(dir, &calibration)) {
        c.warnings.push(format!("the calibration could not be kept: {e}"));
    }
}

/// The earlier nights.
struct Nights<'a> {
    /// Those that count, oldest first.
    good: Vec<&'a Night>,
    ignored: Vec<Ignored>,
}

impl<'a> Nights<'a> {
    fn of(past: &'a History, c: &Comparison) -> Nights<'a> {
        let mut nights = Nights { good: Vec::new(), ignored: past.unread.clone() };
        for (file, night) in &past.nights {
            match history::ignored(night, &c.scenario.sha256, &c.fingerprint.id) {
                None => nights.good.push(night),
                Some(why) => nights.ignored.push(Ignored { file: file.clone(), why }),
            }
        }
        nights
    }
}

/// Holds tonight against earlier nights.
fn held_against(job: &Job<'_>, c: &mut Comparison, nights: &Nights<'_>, tonight: &Tonight) {
    let good = &nights.good;
    let baseline = &good[good.len().saturating_sub(history::NIGHTS)..];
    c.metrics = history::weigh(&job.asked, baseline, &tonight.values, LOOK_RISK);
    c.answer = pairs::overall(&c.metrics);
    c.warnings.push("held against earlier nights: whatever else differs between nights is taken for the service's doing; two [[variant]]s decide soundly".into());
    if good.len() < history::NIGHTS_LEAST {
        let (n, least) = (good.len(), history::NIGHTS_LEAST);
        c.reasons.push(format!("{n} of the {least} nights that are needed at least; this one is added if it is whole"));
    }
}

/// Looks for change points, adds the night.
fn remember(args: &GateArgs, job: &Job<'_>, c: &mut Comparison, nights: Nights<'_>, tonight: &Tonight, kept: &Kept) {
    let Nights { good, ignored } = nights;
    let whole =
        c.clean && c.ending == Ending::Completed && tonight.values.iter().all(|v| v.len() >= c.pairs_planned[0]);
    let variant = c.arms.last().map(|a| a.name.clone()).unwrap_or_default();
    let stopped = stops::of(&c.pairs, &variant).k > 0;
    let night = Night {
        schema: NIGHT.into(),
        id: c.id.clone(),
        started_at: c.started_at.clone(),
        scenario: c.scenario.clone(),
        fingerprint: c.fingerprint.clone(),
        variant,
        valid: whole,
        passed: whole && history::passed(c.answer, tonight.violated, stopped),
        values: job
            .asked
            .iter()
            .zip(&tonight.values)
            .map(|(a, v)| (a.text.clone(), v.iter().map(|x| Value::of(*x)).collect()))
            .collect(),
    };
    let series = history::series(&job.asked, &good, &night);
    let changes = history::changes(&series);
    if c.answer != AnswerWord::Regressed {
        c.reasons
            .extend(changes.iter().map(|x| format!("history: {} changed between {} and {}", x.metric, x.after, x.at)));
    }
    let dir = args.history.clone().unwrap_or_default();
    c.history = Some(HistoryReport { dir: dir.display().to_string(), nights: good.len(), ignored, changes, series });
    if let Err(e) = files::add(&dir, &night) {
        c.warnings.push(format!("this night could not be added to the history: {e}"));
    }
    let all: Vec<&Night> = good.into_iter().chain([&night]).collect();
    let higher = |metric: &str| {
        job.asked
            .iter()
            .find(|a| a.text == *metric)
            .is_none_or(|a| a.question.worse == crate::statistics::decision::Worse::Higher)
    };
    let tables =
        [("otava.csv", files::otava_csv(&all)), ("otava.yaml", files::otava_yaml(&c.scenario.name, &all, higher))];
    for (name, text) in tables {
        if let Err(e) = std::fs::write(kept.dir.join(name), text) {
            c.warnings.push(format!("{name} could not be kept: {e}"));
        }
    }
}
