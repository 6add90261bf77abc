//! Steady-state probes: what must hold before anything is broken, and afterwards again.
//!
//! One file per kind. Owns asking and the log of answers; leaves alone when probes are asked (`run.rs`) and what a failing
//! one means (`objective.rs`).

mod http;
mod prediction;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::plan::{AddressFamily, Plan, ProbeKind, ProbePlan, Target, Url};
use crate::target::{Checker, RequestBodies};

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
}

/// Asks the probes of one run. Shared by threads.
pub struct Prober<'a> {
    plan: &'a Plan,
    url: Url,
    bodies: RequestBodies,
    checker: Checker,
    turn: AtomicUsize,
    logs: Vec<Mutex<ProbeLog>>,
}

impl<'a> Prober<'a> {
    /// For the target at this prediction URL.
    pub fn new(plan: &'a Plan, url: Url) -> Prober<'a> {
        Prober {
            url,
            bodies: RequestBodies::encode(plan),
            checker: Checker::new(&plan.target),
            turn: AtomicUsize::new(0),
            logs: plan.probes.iter().map(|_| Mutex::default()).collect(),
            plan,
        }
    }

    /// Asks the probe of this number, notes the answer and returns it.
    pub fn ask(&self, index: usize, when: When, clock: &Clock) -> Asked {
        let probe = &self.plan.probes[index];
        let at_s = clock.now_signed() as f64 / 1e9;
        let (ok, detail) = match self.look(probe) {
            Ok(seen) => (true, seen),
            Err(why) => (false, why),
        };
        let asked = Asked { when, at_s, ok, detail: detail.chars().take(DETAIL_MAX).collect() };
        let mut log = self.logs[index].lock().unwrap_or_else(PoisonError::into_inner);
        log.asked += 1;
        log.failed += u64::from(!ok);
        if log.kept.len() < KEPT_MAX || (!ok && log.kept.len() < 2 * KEPT_MAX) {
            log.kept.push(asked.clone());
        }
        asked
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
        self.plan.probes.iter().find(|p| p.name == name).is_some_and(|p| self.look(p).is_ok())
    }

    /// Can the target be reached at all? A prediction is sent; any answer will do.
    ///
    /// # Errors
    /// Why not.
    pub fn reachable(&self) -> Result<(), String> {
        prediction::reach(&self.plan.target, &self.url, self.bodies.get(0), self.plan.traffic.timeout, self.family())
    }

    fn family(&self) -> Option<AddressFamily> {
        self.plan.traffic.address_family
    }

    /// Every log, in the order of the plan.
    pub fn logs(&self) -> Vec<ProbeLog> {
        self.logs.iter().map(|l| l.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    fn look(&self, probe: &ProbePlan) -> Result<String, String> {
        match &probe.kind {
            ProbeKind::Http { url, path, method, expect_status, body_contains } => {
                let own = url.is_none();
                let url = url.clone().unwrap_or_else(|| Url { path: path.clone(), ..self.url.clone() });
                // Headers of the target (credentials among them) go to the target only.
                let headers = if own { self.plan.target.headers.clone() } else { Vec::new() };
                let target = Target { headers, ..self.plan.target.clone() };
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
        }
    }
}
