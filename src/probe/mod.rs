//! Steady-state probes: what must hold before anything is broken, and afterwards again.
//!
//! One file per kind; `scrape/` reads pages of metrics besides. Owns asking and the log of answers; leaves alone when probes are asked (`run.rs`) and what a failing
//! one means (`objective.rs`).

pub mod alert;
mod command;
mod http;
mod kubernetes;
mod prediction;
mod prometheus;
pub mod scrape;
mod service;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::fault::stop::StopSignal;
use crate::plan::{AddressFamily, AlertProbe, Plan, ProbeKind, ProbePlan, Target, Url};
use crate::target::{Checker, RequestBodies};
use alert::{AlertLog, AlertOutcome};
use service::Asking;

/// Answers kept per probe; further ones are only counted.
const KEPT_MAX: usize = 1_000;
/// Characters kept of what a probe saw.
const DETAIL_MAX: usize = 300;

/// When in a run a probe is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the load.
    Before,
    /// Again, just before the first fault.
    BeforeFault,
    /// While load runs.
    During,
    /// Once load and faults have ended.
    After,
}

impl When {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            When::Before => "before",
            When::BeforeFault => "before_fault",
            When::During => "during",
            When::After => "after",
        }
    }
}

/// One asking.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// When in the run.
    pub when: When,
    /// Seconds since the start of load; negative before it.
    pub at_s: f64,
    /// It held.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// Every asking of one probe.
#[derive(Clone, Debug, Default)]
pub struct ProbeLog {
    /// The first `KEPT_MAX` and every failure up to as many again.
    pub kept: Vec<Asked>,
    /// All.
    pub asked: u64,
    /// Of those, failed.
    pub failed: u64,
    /// What the looks at an alert saw; they are no askings, their judgement is.
    pub alert: AlertLog,
    /// That judgement, fault by fault, once the run is over.
    pub alerts: Vec<AlertOutcome>,
}

/// Asks the probes of one run. Shared by threads.
pub struct Prober<'a> {
    plan: &'a Plan,
    url: Url,
    bodies: RequestBodies,
    checker: Checker,
    turn: AtomicUsize,
    logs: Vec<Mutex<ProbeLog>>,
    clusters: Vec<kubernetes::Connection>,
    stop: StopSignal,
}

impl<'a> Prober<'a> {
    /// For the target at this prediction URL. `stop` ends a command that is running.
    pub fn new(plan: &'a Plan, url: Url, stop: StopSignal) -> Prober<'a> {
        Prober {
            url,
            bodies: RequestBodies::encode(plan),
            checker: Checker::new(&plan.target),
            turn: AtomicUsize::new(0),
            logs: plan.probes.iter().map(|_| Mutex::default()).collect(),
            clusters: plan.probes.iter().map(|_| kubernetes::Connection::default()).collect(),
            stop,
            plan,
        }
    }

    /// Asks the probe of this number, notes the answer and returns it.
    pub fn ask(&self, index: usize, when: When, clock: &Clock) -> Asked {
        let probe = &self.plan.probes[index];
        let at_s = clock.now_signed() as f64 / 1e9;
        let (ok, detail) = match &probe.kind {
            ProbeKind::Alert(alert) => match self.look_at_alert(index, alert, when, clock) {
                AlertLook::Told(ok, detail) => (ok, detail),
                // One look of many: what they mean together is judged when the run is over.
                AlertLook::Noted(ok, detail) => return Asked { when, at_s, ok, detail: self.bounded(&detail) },
            },
            _ => match self.look(index, probe, clock) {
                Ok(seen) => (true, seen),
                Err(why) => (false, why),
            },
        };
        let asked = Asked { when, at_s, ok, detail: self.bounded(&detail) };
        // A command that the run's own stop ended says nothing of the service.
        if !(!ok && self.stop.stopped() && matches!(probe.kind, ProbeKind::Command(_))) {
            self.log(index).note(asked.clone());
        }
        asked
    }

    fn log(&self, index: usize) -> std::sync::MutexGuard<'_, ProbeLog> {
        self.logs[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without the value of any `${VAR}`: what is seen goes to terminals too.
    fn bounded(&self, detail: &str) -> String {
        let mut secrets: Vec<&str> = self.plan.secrets.iter().map(String::as_str).filter(|s| !s.is_empty()).collect();
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        let masked = secrets.iter().fold(detail.to_owned(), |text, secret| text.replace(secret, "***"));
        masked.chars().take(DETAIL_MAX).collect()
    }

    /// Before any fault an alert must not fire; later its looks are only kept.
    fn look_at_alert(&self, index: usize, alert: &AlertProbe, when: When, clock: &Clock) -> AlertLook {
        let asking = self.asking(&self.plan.probes[index]);
        let seen = alert::look(alert, asking);
        let rule = (when == When::After).then(|| alert::has_rule(alert, asking)).flatten();
        let at_s = clock.now_signed() as f64 / 1e9;
        let mut log = self.log(index);
        log.alert.rule_known = rule.or(log.alert.rule_known);
        let before = matches!(when, When::Before | When::BeforeFault);
        match seen {
            Ok(seen) => {
                // The clock of the looks before the load is not yet the run's.
                let is_new = when != When::Before && log.alert.note(at_s, &seen, clock.wall_origin());
                let told = seen.told(&alert.alert, clock.wall_origin());
                match before {
                    true if seen.state > alert::AlertState::Pending => AlertLook::Told(
                        false,
                        format!("{told} already, before any fault: firing later would prove nothing"),
                    ),
                    true => AlertLook::Told(true, format!("{} is {}", alert.alert, seen.state.word())),
                    false => AlertLook::Noted(true, if is_new { told } else { String::new() }),
                }
            }
            Err(why) if before => AlertLook::Told(false, why),
            Err(why) => {
                log.alert.lost(&self.bounded(&why));
                AlertLook::Noted(false, format!("nobody tells whether {} fires: {why}", alert.alert))
            }
        }
    }

    fn asking(&self, probe: &ProbePlan) -> Asking<'_> {
        Asking { target: &self.plan.target, timeout: probe.timeout, family: self.family() }
    }

    /// Asks every `before` probe; all of them, so that none hides another.
    ///
    /// # Errors
    /// Each that did not hold, with what was seen.
    pub fn steady(&self, when: When, clock: &Clock) -> Result<(), String> {
        let before = (0..self.plan.probes.len()).filter(|i| self.plan.probes[*i].before);
        let failing: Vec<String> = before
            .map(|i| (i, self.ask(i, when, clock)))
            .filter(|(_, asked)| !asked.ok)
            .map(|(i, asked)| format!("probe {}: {}", self.plan.probes[i].name, asked.detail))
            .collect();
        if failing.is_empty() { Ok(()) } else { Err(failing.join("; ")) }
    }

    /// Is the probe of this name passing now? Not noted: this is evidence for a fault, not a promise.
    pub fn passes(&self, name: &str) -> bool {
        let found = self.plan.probes.iter().enumerate().find(|(_, p)| p.name == name);
        // Where no offset is at hand the time of day is all that matters: of a clock that begins now.
        found.is_some_and(|(i, p)| self.look(i, p, &Clock::starting_in(std::time::Duration::ZERO)).is_ok())
    }

    /// Can the target be reached at all? A prediction is sent; any answer will do.
    ///
    /// # Errors
    /// Why not.
    pub fn reachable(&self) -> Result<(), String> {
        let target = self.bodies.target(0, &self.plan.target);
        prediction::reach(&target, &self.url, self.bodies.get(0), self.plan.traffic.timeout, self.family())
    }

    fn family(&self) -> Option<AddressFamily> {
        self.plan.traffic.address_family
    }

    /// Every log, in the order of the plan.
    pub fn logs(&self) -> Vec<ProbeLog> {
        self.logs.iter().map(|l| l.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    fn look(&self, index: usize, probe: &ProbePlan, clock: &Clock) -> Result<String, String> {
        match &probe.kind {
            ProbeKind::Http { url, path, method, expect_status, body_contains, headers, ca } => {
                let own = url.is_none();
                let url = url.clone().unwrap_or_else(|| Url { path: path.clone(), ..self.url.clone() });
                // Headers of the target (credentials among them) go to the target only.
                let headers = if own { self.plan.target.headers.clone() } else { headers.clone() };
                let ca = ca.clone().or_else(|| self.plan.target.ca.clone());
                let target = Target { headers, ca, ..self.plan.target.clone() };
                let question =
                    http::Question { url: &url, method, expect_status, body_contains: body_contains.as_deref() };
                http::ask(&target, &question, probe.timeout, self.family())
            }
            ProbeKind::Prediction => {
                let row = self.turn.fetch_add(1, Ordering::Relaxed) % self.bodies.len();
                prediction::ask(
                    &self.plan.target,
                    &self.url,
                    &self.checker,
                    &self.bodies,
                    row,
                    probe.timeout,
                    self.family(),
                )
            }
            ProbeKind::Prometheus(query) => prometheus::ask(query, clock.wall_now(), self.asking(probe)),
            // As before any fault: it holds as long as the alert does not fire.
            ProbeKind::Alert(alert) => {
                let seen = alert::look(alert, self.asking(probe))?;
                let told = seen.told(&alert.alert, clock.wall_origin());
                if seen.state == alert::AlertState::Firing { Err(told) } else { Ok(told) }
            }
            ProbeKind::Kubernetes(workload) => kubernetes::ask(workload, &self.clusters[index], probe.timeout),
            ProbeKind::Command(command) => command::ask(command, &self.plan.source.dir, probe.timeout, &self.stop),
        }
    }
}

/// A look at an alert.
enum AlertLook {
    /// It is an asking of its own, and held or failed.
    Told(bool, String),
    /// It was answered or not; the words are of a change, or of a failure.
    Noted(bool, String),
}

impl ProbeLog {
    /// Counts an asking, and keeps it while there is room.
    pub fn note(&mut self, asked: Asked) {
        self.asked += 1;
        self.failed += u64::from(!asked.ok);
        self.keep(asked);
    }

    /// Keeps what was seen without counting it.
    pub fn keep(&mut self, asked: Asked) {
        if self.kept.len() < KEPT_MAX || (!asked.ok && self.kept.len() < 2 * KEPT_MAX) {
            self.kept.push(asked);
        }
    }
}
