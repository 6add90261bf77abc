//! `resbench gate FILE`: a comparison that a CI job goes by, with a history of nights.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::compare::{Job, Kept, SeriesArgs, exit_code};
use crate::cli::{USAGE, load, out};
use crate::compare::{fingerprint, history, pairs};
use crate::plan::Plan;
use crate::report::comparison::model::{AnswerWord, Comparison, GATE, HistoryReport, Ignored, Kind, Value};
use crate::report::comparison::text;
use crate::report::history::{self as files, CALIBRATION, Calibration, History, NIGHT, Night};
use crate::report::model::{Ending, Report, VerdictWord};
use crate::run::environment;
use crate::run::series::Played;
use crate::statistics::decision::{LOOK_RISK, Scale};

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
    let calibration = args.history.as_ref().and_then(|dir| files::calibration(dir, &base.name, &here));
    if kind != Kind::Calibration
        && let Some(why) = calibration.as_ref().and_then(|c| below_noise(&base, c))
    {
        out::error(&why);
        return USAGE;
    }
    let job = match Job::new("gate", &args.file, base, &args.series, kind) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let (mut played, kept) = match job.play() {
        Ok(played) => played,
        Err(code) => return code,
    };
    let tonight = Tonight::of(&job, &mut played);
    let noise = (kind == Kind::Calibration).then(|| pairs::noise(&job.asked, &played.usable, LOOK_RISK));
    let mut comparison = job.conclude(GATE, played, &kept);
    if let Some(noise) = noise {
        calibrated(args, &mut comparison, &noise);
    } else {
        if let Some(calibration) = &calibration {
            for m in &mut comparison.metrics {
                m.noise_floor = calibration.noise_floor.get(&m.metric).copied().flatten();
            }
        }
        if let Some(past) = &past {
            held_against(args, &job, &mut comparison, past, &tonight, &kept);
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

/// A change that matters less than this machine's noise cannot be told from it.
fn below_noise(plan: &Plan, calibration: &Calibration) -> Option<String> {
    let gate = plan.gate.as_ref()?;
    gate.metrics.iter().find_map(|metric| {
        let asked = crate::compare::Asked::gating(plan, metric);
        let noise = calibration.noise_floor.get(&asked.text).copied().flatten()?;
        let floor = asked.question.floor;
        let shown = |x: f64| match (asked.question.scale, asked.unit) {
            (Scale::Ratio, _) => format!("{:.1} %", x * 100.0),
            (_, "ratio") => format!("{x:.4}"),
            (_, unit) => format!("{x:.4} {unit}"),
        };
        (floor < noise).then(|| {
            format!(
                "{}: min_effect {} is below the noise of this machine, {} (calibrated {} over {} pairs): write at least that, make phases \
                 longer, or calibrate anew with --calibrate",
                asked.text,
                shown(floor),
                shown(noise),
                calibration.started_at,
                calibration.pairs
            )
        })
    })
}

/// What tonight's runs of the newest variant measured.
struct Tonight {
    values: Vec<Vec<f64>>,
    violated: bool,
}

impl Tonight {
    fn of(job: &Job<'_>, played: &mut Played) -> Tonight {
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
fn calibrated(args: &GateArgs, c: &mut Comparison, noise: &[Option<f64>]) {
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
        noise_floor: c.metrics.iter().map(|m| (m.metric.clone(), m.noise_floor)).collect(),
    };
    if let Some(Err(e)) = args.history.as_ref().map(|dir| files::keep(dir, &calibration)) {
        c.warnings.push(format!("the calibration could not be kept: {e}"));
    }
}

/// Holds tonight against earlier nights, looks for change points, adds the night.
fn held_against(args: &GateArgs, job: &Job<'_>, c: &mut Comparison, past: &History, tonight: &Tonight, kept: &Kept) {
    let (sha, here) = (&c.scenario.sha256, &c.fingerprint.id);
    let judged = past.nights.iter().map(|(file, night)| (file, night, history::ignored(night, sha, here)));
    let (mut good, mut ignored): (Vec<&Night>, Vec<Ignored>) = (Vec::new(), past.unread.clone());
    for (file, night, why) in judged {
        match why {
            None => good.push(night),
            Some(why) => ignored.push(Ignored { file: file.clone(), why }),
        }
    }
    let baseline = &good[good.len().saturating_sub(history::NIGHTS)..];
    if job.kind == Kind::History {
        c.metrics = history::weigh(&job.asked, baseline, &tonight.values, LOOK_RISK);
        c.answer = pairs::overall(&c.metrics);
        c.warnings.push("held against earlier nights: whatever else differs between nights is taken for the service's doing; two [[variant]]s decide soundly".into());
        if good.len() < history::NIGHTS_LEAST {
            let (n, least) = (good.len(), history::NIGHTS_LEAST);
            c.reasons
                .push(format!("{n} of the {least} nights that are needed at least; this one is added if it is whole"));
        }
        c.exit_code = exit_code(c);
    }
    let whole =
        c.clean && c.ending == Ending::Completed && tonight.values.iter().all(|v| v.len() >= c.pairs_planned[0]);
    let night = Night {
        schema: NIGHT.into(),
        id: c.id.clone(),
        started_at: c.started_at.clone(),
        scenario: c.scenario.clone(),
        fingerprint: c.fingerprint.clone(),
        variant: c.arms.last().map(|a| a.name.clone()).unwrap_or_default(),
        valid: whole,
        passed: whole && history::passed(c.answer, tonight.violated),
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
