//! The run as it goes, on stderr: a bar where a person watches, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::out;
use crate::clock::Clock;
use crate::engine::Live;
use crate::fault::timeline::{Moment, next_fault, timeline};
use crate::plan::Plan;
use crate::run::{Observer, Progress};
use crate::units::{Offset, show_duration};

/// Between two plain lines.
const LINE_EVERY_S: f64 = 10.0;
/// Between two changes of the words beside the bar.
const WORDS_EVERY_S: f64 = 0.25;
/// Rates are shown over this long.
const RATE_OVER_S: f64 = 1.0;

/// Shows a run; quiet shows nothing.
pub(super) struct Show<'a> {
    plan: &'a Plan,
    moments: Vec<Moment>,
    bar: Option<ProgressBar>,
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looks: std::collections::VecDeque<(Offset, Live)>,
    next_line_s: f64,
    next_words_s: f64,
    /// The phase of the last line, and when it may have its first.
    phase: Option<(u16, f64)>,
    said: Option<u16>,
}

impl<'a> Show<'a> {
    pub(super) fn new(plan: &'a Plan, quiet: bool) -> Show<'a> {
        let bar = (!quiet && out::stderr_is_terminal()).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(plan.end().0 / 1_000_000), ProgressDrawTarget::stderr_with_hz(10));
            let style =
                ProgressStyle::with_template("{bar:24} {prefix} {wide_msg}").expect("a constant template is valid");
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
            bar
        });
        Show { plan, moments: timeline(&plan.faults, plan.end()), bar, quiet, state: Mutex::default() }
    }

    /// Takes the bar away, so that results stand alone.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.quiet {
            return;
        }
        let text = out::safe(text);
        match &self.bar {
            Some(bar) => bar.println(text),
            None => out::talk(&format!("{text}\n")),
        }
    }

    fn status(&self, state: &State, p: &Progress) -> String {
        let (then, before) = state.looks.front().copied().unwrap_or((p.now, p.live));
        let seconds = p.now.since(then).as_secs_f64().max(1e-3);
        let per_second = |now: u64, was: u64| ((now - was) as f64 / seconds).round();
        let phase = &self.plan.phases[self.plan.phase_at(p.now).0 as usize].name;
        let us = |ns: Option<u64>| ns.map_or("∞".to_owned(), |n| crate::report::format::time_us(n as f64 / 1e3));
        let next = next_fault(&self.moments, p.now).map_or(String::new(), |m| {
            format!("  {} in {:.0} s", self.plan.faults[m.fault].name, m.at.since(p.now).as_secs_f64().ceil())
        });
        let latency = (p.latency)();
        format!(
            "{phase}  offered {}/s  good {}/s  p50 {} p99 {}  errors {}  shed {}{next}",
            per_second(p.live.planned, before.planned),
            per_second(p.live.ok, before.ok),
            us(latency.p50),
            us(latency.p99),
            p.live.failed,
            p.live.shed,
        )
    }
}

impl Observer for Show<'_> {
    fn stage(&self, text: &str) {
        self.line(text);
    }

    fn armed(&self, _clock: &Clock) {
        self.line(&format!("load for {}", show_duration(self.plan.end().as_duration())));
    }

    fn progress(&self, p: &Progress) {
        if self.quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.looks.push_back((p.now, p.live));
        while state.looks.len() > 2 && p.now.since(state.looks[1].0).as_secs_f64() >= RATE_OVER_S {
            state.looks.pop_front();
        }
        let now = p.now.as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.set_position(p.now.0.min(self.plan.end().0) / 1_000_000);
            bar.set_prefix(format!("{now:>4.0} s"));
            if now >= state.next_words_s {
                state.next_words_s = now + WORDS_EVERY_S;
                bar.set_message(self.status(&state, p));
            }
            return;
        }
        let phase = self.plan.phase_at(p.now).0;
        // Rates look back one second: before that they would speak of the phase before, or of next to nothing.
        if state.phase.is_none_or(|(last, _)| last != phase) {
            state.phase = Some((phase, now + RATE_OVER_S));
        }
        let begun = state.phase.is_some_and(|(_, from)| now >= from);
        if begun && (state.said != Some(phase) || now >= state.next_line_s) {
            state.said = Some(phase);
            state.next_line_s = now + LINE_EVERY_S;
            let status = self.status(&state, p);
            drop(state);
            self.line(&format!("{now:7.1} s  {status}"));
        }
    }

    fn event(&self, at: Offset, text: &str) {
        self.line(&format!("{:7.1} s  {text}", at.as_secs_f64()));
    }
}
