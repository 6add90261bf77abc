//! `resbench compare FILE` (two variants in interleaved pairs), and `resbench compare RUN_A RUN_B` (two saved runs, as advice).

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::many::{self, ManyArgs, Outcome};
use crate::cli::progress::Show;
use crate::cli::{ChangeArgs, Output, USAGE, check, load, out, run};
use crate::clock;
use crate::compare::{Asked, advised, fingerprint, pairs, stops};
use crate::fault::stop::StopSignal;
use crate::plan::Plan;
use crate::report::comparison::model::{AnswerWord, Arm, COMPARE, Comparison, Kind, RunOf};
use crate::report::comparison::{self, text};
use crate::report::model::{Ending, Report};
use crate::report::{hlog, store};
use crate::rng;
use crate::run::series::{self, Played, Series, Watch};
use crate::run::{LoadOptions, Observer, environment};
use crate::scenario;
use crate::statistics::decision::LOOK_RISK;
use crate::statistics::quantile::Bucket;
use crate::units::{Seed, show_duration};

#[derive(Args)]
pub(super) struct CompareArgs {
    /// The scenario with two `[[variant]]`s; or the first of two saved runs.
    file: PathBuf,
    /// The second saved run: both are set side by side as advice, and nothing is run.
    other: Option<PathBuf>,
    #[command(flatten)]
    series: SeriesArgs,
}

/// What `compare` and `gate` share.
#[derive(Args)]
pub(super) struct SeriesArgs {
    #[command(flatten)]
    pub(super) change: ChangeArgs,
    /// Pairs before the first look, instead of the scenario's; the last look is then there too, unless --max-pairs says more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) pairs: Option<u16>,
    /// Pairs before the second and last look.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) max_pairs: Option<u16>,
    #[command(flatten)]
    pub(super) many: ManyArgs,
}

pub(super) fn compare(args: &CompareArgs) -> u8 {
    if let Some(other) = &args.other {
        return saved(&args.file, other, args.series.many.output);
    }
    let base = match load(&args.file, &args.series.change) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if base.variants.len() != 2 {
        out::error(&format!(
            "{}: there is nothing to compare: write two [[variant]] tables, each with a name and a set of changes, or name two saved \
             runs (resbench compare RUN_A RUN_B)",
            args.file.display()
        ));
        return USAGE;
    }
    let job = match Job::new("compare", &args.file, base, &args.series, Kind::Pairs) {
        Ok(job) => job,
        Err(code) => return code,
    };
    let played = match job.play() {
        Ok(played) => played,
        Err(code) => return code,
    };
    let mut comparison = job.conclude(COMPARE, played.0, &played.1);
    stops::weigh(&mut comparison);
    comparison.exit_code = exit_code(&comparison);
    job.finish(&comparison, &played.1)
}

/// Faults whose shift function is made; of more, the first.
const SHIFTED: usize = 10;

/// A comparison that is about to be made: checked, and agreed to.
pub(super) struct Job<'a> {
    pub(super) file: &'a Path,
    pub(super) args: &'a SeriesArgs,
    pub(super) base: Plan,
    pub(super) kind: Kind,
    pub(super) asked: Vec<Asked>,
    arms: [Arm; 2],
    looks: [usize; 2],
    stop: StopSignal,
    began: u64,
    reproduce: String,
}

/// What was made: the series, and where it is kept.
pub(super) struct Kept {
    id: String,
    pub(super) dir: PathBuf,
}

impl<'a> Job<'a> {
    /// # Errors
    /// An exit code, after saying why.
    pub(super) fn new(
        command: &str,
        file: &'a Path,
        base: Plan,
        args: &'a SeriesArgs,
        kind: Kind,
    ) -> Result<Job<'a>, u8> {
        let Some(gate) = base.gate.clone() else {
            out::error(&format!(
                "{}: nothing says what decides: write [gate] with one to three metrics, for example metrics = [{{ metric = \
                 \"latency.p99@{}\", min_effect = \"5%\" }}]",
                file.display(),
                base.phases.last().map_or("baseline", |p| p.name.as_str())
            ));
            return Err(USAGE);
        };
        let first = args.pairs.map_or(gate.pairs, usize::from);
        let last = match (args.max_pairs, args.pairs) {
            (Some(n), _) => usize::from(n),
            (None, Some(_)) => first,
            (None, None) => gate.max_pairs,
        };
        if last < first {
            out::error(&format!("--max-pairs {last} is below {first} pairs: give at least --max-pairs {first}"));
            return Err(USAGE);
        }
        let arm = |i: usize| match base.variants.get(i) {
            Some(v) => Arm { name: v.name.clone(), sets: v.sets.clone() },
            None => Arm { name: "this".to_owned(), sets: Vec::new() },
        };
        let arms = match kind {
            Kind::Pairs => [arm(0), arm(1)],
            Kind::Calibration => [arm(0), Arm { name: format!("{}-again", arm(0).name), ..arm(0) }],
            Kind::History => [arm(0), arm(0)],
        };
        let asked = gate.metrics.iter().map(|m| Asked::gating(&base, m)).collect();
        let mut reproduce = many::reproduce(command, file, base.seed.0, &args.change);
        if args.pairs.is_some() || args.max_pairs.is_some() {
            reproduce.push_str(&format!(" --pairs {first} --max-pairs {last}"));
        }
        let looks = [first, last];
        let (stop, began) = (StopSignal::new(), clock::monotonic_nanos());
        let job = Job { file, args, base, kind, asked, arms, looks, stop, began, reproduce };
        job.agree()?;
        Ok(job)
    }

    /// The plan of an arm under a seed.
    fn plan(&self, arm: usize, seed: Option<Seed>) -> Result<Plan, scenario::Problems> {
        let sets = [self.args.change.sets.as_slice(), self.arms[arm].sets.as_slice()].concat();
        let seed = seed.map(|s| s.0).or(self.args.change.seed);
        scenario::load(self.file, &scenario::LoadOptions { sets, seed, ..scenario::LoadOptions::default() })
    }

    /// Both arms are valid and may be run; says how long it will take.
    fn agree(&self) -> Result<(), u8> {
        for arm in 0..2 {
            let plan = self.plan(arm, None).map_err(|problems| {
                out::talk(&problems.render(out::stderr_has_color(), out::stderr_width()));
                out::error(&format!("the scenario is not valid as variant {}", self.arms[arm].name));
                USAGE
            })?;
            run::consent(&plan, self.args.many.yes)?;
            if arm == 0 && !self.args.many.quiet {
                check::warnings(&plan).iter().for_each(|w| out::talk(&format!("warning: {w}\n")));
                let one = plan.end().as_duration();
                let [first, last] = self.looks;
                let (runs, each) =
                    if self.kind == Kind::History { (first, "runs") } else { (2 * first, "runs, in pairs") };
                let more = if last > first && self.kind != Kind::History {
                    format!("; up to {} if that does not decide", 2 * last)
                } else {
                    String::new()
                };
                let all = show_duration(one * u32::try_from(runs).unwrap_or(u32::MAX));
                out::talk(&format!("{runs} {each}, of {} each: at least {all} of load{more}\n", show_duration(one)));
            }
        }
        Ok(())
    }

    /// Makes the runs.
    ///
    /// # Errors
    /// An exit code, after saying why.
    pub(super) fn play(&self) -> Result<(Played, Kept), u8> {
        let (id, dir) = many::begin(&self.base, &self.args.many.reports, &self.stop)?;
        let plan = |arm: usize, seed: Seed| {
            self.plan(arm, Some(seed)).map_err(|problems| problems.render(false, out::stderr_width()))
        };
        let series = Series {
            dir: &dir,
            arms: [&self.arms[0].name, &self.arms[1].name],
            plan: &plan,
            seed: self.base.seed,
            looks: self.looks,
            asked: &self.asked,
            load: LoadOptions::default(),
            stop: self.stop.clone(),
            reproduce: &self.reproduce,
        };
        let watch = Lines { quiet: self.args.many.quiet, asked: &self.asked };
        let played = match self.kind {
            Kind::History => series::play_alone(&series, &watch),
            _ => series::play(&series, &watch),
        };
        Ok((played, Kept { id, dir }))
    }

    /// What the runs say.
    pub(super) fn conclude(&self, schema: &str, played: Played, kept: &Kept) -> Comparison {
        let names = [self.arms[0].name.as_str(), self.arms[1].name.as_str()];
        let (metrics, _) = pairs::decide(&self.asked, &played.usable, names, LOOK_RISK);
        let advice = pairs::advice(&advised(&self.base, &self.asked), &played.usable, names, LOOK_RISK);
        let arms = if self.kind == Kind::History { vec![self.arms[0].clone()] } else { self.arms.to_vec() };
        let mut warnings = self.base.warnings.clone();
        let unusable = played.pairs.iter().filter(|p| !p.usable).count();
        if unusable > 0 {
            warnings.push(format!("{unusable} rounds could not be used and are in no number"));
        }
        let mut comparison = Comparison {
            schema: schema.to_owned(),
            id: kept.id.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: started_at(&kept.id),
            duration_s: (clock::monotonic_nanos() - self.began) as f64 / 1e9,
            scenario: many::scenario_info(&self.base),
            seed: self.base.seed.0,
            kind: self.kind,
            arms,
            answer: pairs::overall(&metrics),
            ending: played.ending,
            clean: played.residue.is_empty(),
            exit_code: 0,
            reasons: played.residue.iter().chain(&played.why).cloned().collect(),
            pairs_planned: self.looks,
            looks: played.looks.clone(),
            risk: LOOK_RISK,
            timelines: if played.usable.is_empty() { Vec::new() } else { pairs::timelines(&played.usable, names) },
            shifts: self.shifts(&played),
            pairs: played.pairs,
            metrics,
            advice,
            fingerprint: fingerprint(&environment(&self.base), env!("CARGO_PKG_VERSION")),
            history: None,
            reproduce: self.reproduce.clone(),
            warnings,
        };
        comparison.exit_code = exit_code(&comparison);
        self.mask(&mut comparison);
        comparison
    }

    /// Values of `${VAR}` never reach a file: what runs said is masked already, what plans and clocks said is not.
    fn mask(&self, comparison: &mut Comparison) {
        let secrets: Vec<String> =
            (0..2).filter_map(|arm| self.plan(arm, None).ok()).flat_map(|plan| plan.secrets).collect();
        let runs = comparison.pairs.iter_mut().flat_map(|p| &mut p.runs).map(|r| &mut r.why);
        many::mask(&secrets, comparison.reasons.iter_mut().chain(&mut comparison.warnings).chain(runs));
    }

    /// Of each measured phase, then of the time of each fault.
    fn shifts(&self, played: &Played) -> Vec<comparison::model::ShiftReport> {
        let mut chance = rng::stream(self.base.seed, "shift function");
        let mut below = |n: usize| rng::below(&mut chance, n);
        let log = |dir: &PathBuf| std::fs::read(dir.join("latency.hlog")).unwrap_or_default();
        let logs: Vec<[Vec<u8>; 2]> = played.dirs.iter().map(|[a, b]| [log(a), log(b)]).collect();
        let of = |arm: usize, place: &str| -> Vec<Vec<Bucket>> {
            let runs = played.usable.iter().map(|(a, b)| if arm == 0 { a } else { b });
            let read = |(log, run): (&[Vec<u8>; 2], &Report)| match place.starts_with("during:") {
                false => hlog::good_answers(&log[arm], place).unwrap_or_default(),
                true => run.spans.iter().find(|s| s.name == place).map_or(Vec::new(), |s| {
                    hlog::good_answers_between(&log[arm], s.start_at_s, s.start_at_s + s.duration_s).unwrap_or_default()
                }),
            };
            logs.iter().zip(runs).map(read).collect()
        };
        let phases = self.base.phases.iter().filter(|p| p.measured).map(|p| p.name.clone());
        let faults = self.base.faults.iter().take(SHIFTED).map(|f| format!("during:{}", f.name));
        phases.chain(faults).filter_map(|name| pairs::shift(&name, &of(0, &name), &of(1, &name), &mut below)).collect()
    }

    /// Saves, prints, gives the exit code.
    pub(super) fn finish(&self, comparison: &Comparison, kept: &Kept) -> u8 {
        let runs = comparison.pairs.iter().flat_map(|p| &p.runs).filter(|r| !r.why.is_empty()).map(|r| &r.why);
        let (clean, ending, exit_code) = (comparison.clean, comparison.ending, comparison.exit_code);
        many::finish(
            comparison::save(&kept.dir, comparison),
            &shown(comparison, &kept.dir, self.args.many.output),
            comparison.reasons.iter().chain(runs),
            &Outcome { clean, ending, exit_code },
        )
    }
}

/// A comparison in the form asked for.
pub(super) fn shown(comparison: &Comparison, dir: &Path, output: Output) -> String {
    match output {
        Output::Human => {
            many::for_people(&text::summary(comparison, out::stdout_width(), out::stdout_has_color()), dir)
        }
        Output::Markdown => comparison::markdown(comparison),
        Output::Json => comparison::json(comparison),
    }
}

/// DESIGN section 3.
pub(super) fn exit_code(c: &Comparison) -> u8 {
    match (c.clean, c.ending, c.answer) {
        (false, ..) => 4,
        (_, Ending::Interrupted, _) => 130,
        (_, Ending::NotStarted, _) => 5,
        (.., AnswerWord::Regressed) => 1,
        (.., AnswerWord::Inconclusive) => 3,
        _ => 0,
    }
}

/// The id begins with the time, to the second.
pub(super) fn started_at(id: &str) -> String {
    let part = |range: std::ops::Range<usize>| id.get(range).unwrap_or("00");
    format!("{}-{}-{}T{}:{}:{}Z", part(0..4), part(4..6), part(6..8), part(9..11), part(11..13), part(13..15))
}

/// A line for each run; the run's own bar while it goes.
struct Lines<'a> {
    quiet: bool,
    asked: &'a [Asked],
}

impl Watch for Lines<'_> {
    fn begins<'p>(&self, number: usize, arm: &str, plan: &'p Plan) -> Box<dyn Observer + 'p> {
        // A bar for a person; else the line at the end of each run is enough.
        let bar = out::stderr_is_terminal() && !self.quiet;
        if bar {
            out::talk(&format!("pair {number}: {arm}\n"));
        }
        Box::new(Transient(Show::new(plan, !bar)))
    }

    fn ended(&self, number: usize, run: &RunOf, report: Option<&Report>) {
        if self.quiet {
            return;
        }
        let unused = if run.why.is_empty() { String::new() } else { format!("  not used: {}", run.why) };
        let value = |asked: &Asked, report: &Report| {
            let value = comparison::model::Value::of(asked.value(report));
            format!("{} {}", asked.text, text::value(value, asked.unit))
        };
        let values: Vec<String> = report.iter().flat_map(|r| self.asked.iter().map(|a| value(a, r))).collect();
        let line = format!("pair {number:>2}  {:<12} {:<12} {}{unused}", run.arm, run.verdict, values.join("  "));
        out::talk(&format!("{}\n", out::safe(&line)));
    }
}

/// Takes its bar away when the run is over.
pub(super) struct Transient<'a>(Show<'a>);

impl<'a> Transient<'a> {
    pub(super) fn new(show: Show<'a>) -> Transient<'a> {
        Transient(show)
    }
}

impl Observer for Transient<'_> {
    fn stage(&self, text: &str) {
        self.0.stage(text);
    }

    fn armed(&self, clock: &clock::Clock) {
        self.0.armed(clock);
    }

    fn progress(&self, progress: &crate::run::Progress) {
        self.0.progress(progress);
    }

    fn event(&self, at: crate::units::Offset, text: &str) {
        self.0.event(at, text);
    }
}

impl Drop for Transient<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Two saved runs side by side.
fn saved(a: &Path, b: &Path, output: Output) -> u8 {
    let read = |path: &Path| {
        let dir = store::newest(path).unwrap_or_else(|| path.to_owned());
        store::load(&dir).map_err(|why| {
            out::error(&why);
            USAGE
        })
    };
    let (a, b) = match (read(a), read(b)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(code), _) | (_, Err(code)) => return code,
    };
    let found = crate::compare::side_by_side(&a, &b);
    out::result(&match output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&found).unwrap_or_default()),
        Output::Markdown => comparison::side::markdown(&found),
        Output::Human => comparison::side::text(&found, out::stdout_width()),
    });
    0
}
