//! An alert that has to fire once a fault is there: looked at all the time, judged at the end.
//!
//! A look tells one of five states. *Pending* is not firing. *Silenced* and *inhibited* are told apart from firing, and reach nobody.
//! Each change is kept with the last look before it, so that the time to the alert has both of its bounds: it fired after the one and by
//! the other. The server's own `activeAt` or `startsAt` is put on the run's axis by our wall clock and told beside them; it decides only
//! whether the alert was active before the fault. An alert that was firing or pending when the fault was applied proves nothing:
//! *unknown*, never a pass. A look without an answer changes nothing and is counted; where nobody answered for long while a fault
//! was on, that the alert did not fire is *unknown* too.

use serde_json::Value;

use super::service::{Asking, escaped, get, json, shown};
use crate::plan::{AlertApi, AlertProbe};
use crate::units::show_duration;

/// Changes kept; an alert that flaps more often than that is not worth more of our memory.
const CHANGES_MAX: usize = 2_000;

/// Stretches between two answers that are kept, the longest.
const GAPS_MAX: usize = 64;

/// Shorter than this no stretch without an answer counts, however often the alert is looked at, in seconds.
const GAP_MIN_S: f64 = 1.0;

/// What an alert is doing. In the order of what is told of several with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// Its condition does not hold.
    Inactive,
    /// Its condition holds, not yet for long enough (or Alertmanager has not worked on it yet).
    Pending,
    /// Another alert keeps it from being sent.
    Inhibited,
    /// A silence keeps it from being sent.
    Silenced,
    /// It fires.
    Firing,
}

impl AlertState {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            AlertState::Inactive => "not active",
            AlertState::Pending => "pending",
            AlertState::Inhibited => "inhibited",
            AlertState::Silenced => "silenced",
            AlertState::Firing => "firing",
        }
    }

    /// Its condition holds for long enough, whoever hears of it.
    fn is_up(self) -> bool {
        self >= AlertState::Inhibited
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) state: AlertState,
    /// Active since, by the server, nanoseconds since the epoch.
    since_ns: Option<i128>,
    /// Who silences or inhibits it.
    by: String,
}

impl Seen {
    /// In words, for the log.
    pub(super) fn told(&self, name: &str, origin_ns: i128) -> String {
        let since = self.since_ns.map_or(String::new(), |at| {
            format!(" since {:.1} s of the run by the server's clock", (at - origin_ns) as f64 / 1e9)
        });
        format!("{name} is {}{}{since}", self.state.word(), self.by)
    }
}

/// Looks once.
pub(super) fn look(probe: &AlertProbe, asking: Asking<'_>) -> Result<Seen, String> {
    let path = match probe.api {
        AlertApi::Prometheus => "/api/v1/alerts".to_owned(),
        AlertApi::Alertmanager => {
            let filter = escaped(&format!("alertname=\"{}\"", probe.alert.replace('\\', "\\\\").replace('"', "\\\"")));
            format!("/api/v2/alerts?active=true&silenced=true&inhibited=true&unprocessed=true&filter={filter}")
        }
    };
    let (status, body) = get(&probe.server, &path, asking)?;
    read(probe, status, &body)
}

/// Whether the server has a rule of this name; none when it cannot say.
pub(super) fn has_rule(probe: &AlertProbe, asking: Asking<'_>) -> Option<bool> {
    if probe.api == AlertApi::Alertmanager {
        return None;
    }
    let (status, body) = get(&probe.server, "/api/v1/rules?type=alert", asking).ok()?;
    let answer = json(status, &body).ok().filter(|a| a["status"] == "success")?;
    let groups = answer["data"]["groups"].as_array()?;
    let mut rules = groups.iter().filter_map(|g| g["rules"].as_array()).flatten();
    Some(rules.any(|r| r["name"] == probe.alert.as_str()))
}

fn read(probe: &AlertProbe, status: u16, body: &[u8]) -> Result<Seen, String> {
    let answer = json(status, body)?;
    if status != 200 {
        let why = if answer["error"].is_null() { &answer } else { &answer["error"] };
        return Err(format!("status {status}: {}", shown(why)));
    }
    let (alerts, one): (_, fn(&Value) -> Seen) = match probe.api {
        AlertApi::Prometheus => (&answer["data"]["alerts"], of_prometheus),
        AlertApi::Alertmanager => (&answer, of_alertmanager),
    };
    let alerts = alerts.as_array().ok_or_else(|| format!("no list of alerts: {}", shown(&answer)))?;
    let is_it = |alert: &&Value| {
        let has = |key: &str, value: &str| alert["labels"][key] == value;
        has("alertname", &probe.alert) && probe.labels.iter().all(|(k, v)| has(k, v))
    };
    let none = Seen { state: AlertState::Inactive, since_ns: None, by: String::new() };
    Ok(alerts.iter().filter(is_it).map(one).fold(none, |best, next| match next.state.cmp(&best.state) {
        std::cmp::Ordering::Greater => next,
        std::cmp::Ordering::Less => best,
        // The one that has been so for longest says whether any was before the fault.
        std::cmp::Ordering::Equal => match (best.since_ns, next.since_ns) {
            (Some(a), Some(b)) if b < a => next,
            _ => best,
        },
    }))
}

fn of_prometheus(alert: &Value) -> Seen {
    let state = match alert["state"].as_str() {
        Some("firing") => AlertState::Firing,
        Some("pending") => AlertState::Pending,
        _ => AlertState::Inactive,
    };
    Seen { state, since_ns: instant(&alert["activeAt"]), by: String::new() }
}

fn of_alertmanager(alert: &Value) -> Seen {
    let status = &alert["status"];
    let names = |key: &str| {
        let all = status[key].as_array().map(Vec::as_slice).unwrap_or_default();
        (!all.is_empty()).then(|| format!(" by {}", all.iter().take(2).map(shown).collect::<Vec<_>>().join(", ")))
    };
    let (state, by) = match status["state"].as_str() {
        Some("active") => (AlertState::Firing, None),
        Some("suppressed") => match (names("silencedBy"), names("inhibitedBy")) {
            (None, Some(by)) => (AlertState::Inhibited, Some(by)),
            // Muted by a time interval: nobody hears of it either.
            (by, _) => (AlertState::Silenced, by),
        },
        _ => (AlertState::Pending, None),
    };
    Seen { state, since_ns: instant(&alert["startsAt"]), by: by.unwrap_or_default() }
}

/// RFC 3339, as nanoseconds since the epoch.
fn instant(text: &Value) -> Option<i128> {
    text.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
}

/// A state that began, on the run's axis.
#[derive(Clone, Debug, PartialEq)]
struct Change {
    /// When it was first seen, seconds.
    at_s: f64,
    /// The last look that saw something else.
    not_before_s: Option<f64>,
    state: AlertState,
    /// Since when by the server, seconds.
    since_s: Option<f64>,
    by: String,
}

/// What all looks of a run saw.
#[derive(Clone, Debug, Default)]
pub struct AlertLog {
    changes: Vec<Change>,
    /// Looks that were answered.
    looks: u64,
    /// The last of them.
    last_s: Option<f64>,
    /// The longest stretches from one answer to the next, seconds: nobody was looking meanwhile.
    gaps: Vec<(f64, f64)>,
    /// The longest of all that are not kept, seconds.
    gap_not_kept_s: f64,
    /// Looks without an answer.
    lost: u64,
    first_lost: Option<String>,
    /// False: the server knows no rule of this name.
    pub(super) rule_known: Option<bool>,
}

impl AlertLog {
    /// Notes an answer that came at `at_s`; true when the state is another than before.
    pub(super) fn note(&mut self, at_s: f64, seen: &Seen, origin_ns: i128) -> bool {
        let is_new = self.changes.last().is_none_or(|c| c.state != seen.state);
        if is_new && self.changes.len() < CHANGES_MAX {
            self.changes.push(Change {
                at_s,
                not_before_s: self.last_s,
                state: seen.state,
                since_s: seen.since_ns.map(|ns| (ns - origin_ns) as f64 / 1e9),
                by: seen.by.clone(),
            });
        }
        self.looks += 1;
        if let Some(last_s) = self.last_s.replace(at_s) {
            self.note_gap((last_s, at_s));
        }
        is_new
    }

    /// Keeps a stretch between two answers, unless the room is full of longer ones.
    fn note_gap(&mut self, gap: (f64, f64)) {
        self.gaps.push(gap);
        if self.gaps.len() <= GAPS_MAX {
            return;
        }
        let all = self.gaps.iter().enumerate();
        let shortest = all.min_by(|(_, a), (_, b)| length(**a).total_cmp(&length(**b))).map(|(i, _)| i);
        if let Some(i) = shortest {
            let gone = self.gaps.swap_remove(i);
            self.gap_not_kept_s = self.gap_not_kept_s.max(length(gone));
        }
    }

    /// Notes a look without an answer.
    pub(super) fn lost(&mut self, why: &str) {
        self.lost += 1;
        self.first_lost.get_or_insert_with(|| why.to_owned());
    }
}

fn length((from_s, to_s): (f64, f64)) -> f64 {
    to_s - from_s
}

/// What became of an alert after one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fired {
    /// It fired, in time.
    Fired,
    /// It fired, later than `within`.
    Late,
    /// It never fired.
    Not,
    /// It became pending and never fired.
    Pending,
    /// It was silenced.
    Silenced,
    /// It was inhibited.
    Inhibited,
    /// It cannot be told.
    Unknown,
}

impl Fired {
    /// The word of `run.json`.
    pub fn word(self) -> &'static str {
        match self {
            Fired::Fired => "fired",
            Fired::Late => "late",
            Fired::Not => "not_fired",
            Fired::Pending => "pending",
            Fired::Silenced => "silenced",
            Fired::Inhibited => "inhibited",
            Fired::Unknown => "unknown",
        }
    }
}

/// The alert after one fault.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertOutcome {
    /// The fault, by its place in the plan.
    pub fault: usize,
    /// What became of the alert.
    pub fired: Fired,
    /// When it was first seen firing, seconds.
    pub fired_at_s: Option<f64>,
    /// The last look that saw it not firing.
    pub not_fired_at_s: Option<f64>,
    /// From applied until it was seen firing.
    pub time_to_alert_s: Option<f64>,
    /// From applied until it was last seen not firing: it was no sooner than this.
    pub no_sooner_s: Option<f64>,
    /// Since when it was active by the server's clock, on the run's axis by ours.
    pub active_at_s: Option<f64>,
    /// When it was first seen not firing again.
    pub resolved_at_s: Option<f64>,
    /// In words.
    pub text: String,
}

/// When faults were applied, and how the probe is asked.
pub struct Times<'a> {
    /// Of each fault of the plan, seconds: when it was due, and when it was in force; none where it never was. Between the two it is
    /// being applied and may be felt already, so that what an alert does then is no more "before the fault".
    pub applied_s: &'a [Option<(f64, f64)>],
    /// Between two looks, seconds.
    pub every_s: f64,
    /// When looking ended, seconds.
    pub end_s: f64,
}

/// Judges the alert after each of its faults.
pub fn judge(probe: &AlertProbe, log: &AlertLog, times: &Times<'_>) -> Vec<AlertOutcome> {
    let applied = |i: usize| times.applied_s.get(i).copied().flatten();
    let one = |fault: usize| {
        let Some(at) = applied(fault) else { return open(fault, "the fault was not applied".to_owned()) };
        let others = probe.faults.iter().filter_map(|i| applied(*i)).map(|(begun, _)| begun);
        let next = others.filter(|t| *t > at.0).fold(f64::INFINITY, f64::min);
        after(probe, log, fault, at, next, times)
    };
    probe.faults.iter().map(|i| one(*i)).collect()
}

fn open(fault: usize, text: String) -> AlertOutcome {
    AlertOutcome {
        fault,
        fired: Fired::Unknown,
        fired_at_s: None,
        not_fired_at_s: None,
        time_to_alert_s: None,
        no_sooner_s: None,
        active_at_s: None,
        resolved_at_s: None,
        text,
    }
}

fn after(
    probe: &AlertProbe,
    log: &AlertLog,
    fault: usize,
    (begun, at): (f64, f64),
    until: f64,
    times: &Times<'_>,
) -> AlertOutcome {
    let name = &probe.alert;
    let lost = lost_words(log);
    let Some(before) = log.changes.iter().rev().find(|c| c.at_s <= begun) else {
        return open(
            fault,
            format!("{name} was not seen before the fault, so nothing tells whether it fired already{lost}"),
        );
    };
    if before.state.is_up() {
        let text = format!(
            "{name} was {}{} already when the fault was applied, since {:.1} s: it proves nothing",
            before.state.word(),
            before.by,
            before.at_s
        );
        return AlertOutcome { active_at_s: before.since_s, ..open(fault, text) };
    }
    let mut was_pending = before.state == AlertState::Pending;
    // The last look at which its condition did not hold.
    let mut quiet_s = (!was_pending).then(|| last_seen(log, before));
    let mut worst: Option<&Change> = None;
    for change in log.changes.iter().filter(|c| c.at_s > begun && c.at_s <= until) {
        match change.state {
            AlertState::Inactive => (was_pending, quiet_s) = (false, Some(last_seen(log, change))),
            AlertState::Firing if was_pending => {
                let text = format!("{name} was pending already when the fault was applied: it proves nothing");
                return AlertOutcome { active_at_s: change.since_s, ..open(fault, text) };
            }
            AlertState::Firing => return fired(probe, log, fault, (begun, at), change, quiet_s),
            _ if worst.is_none_or(|w| change.state > w.state) => worst = Some(change),
            _ => {}
        }
    }
    if let Some(blind) = blind(log, (begun, until), times) {
        return open(fault, format!("{name} was not seen firing, and {blind}{lost}"));
    }
    let (fired, text) = match worst.map(|w| (w.state, w)) {
        Some((AlertState::Silenced, w)) => (Fired::Silenced, suppressed(name, w, at)),
        Some((AlertState::Inhibited, w)) => (Fired::Inhibited, suppressed(name, w, at)),
        _ if was_pending || worst.is_some() => (Fired::Pending, format!("{name} was pending and never fired")),
        _ => (Fired::Not, format!("{name} did not fire{}", rule_words(log))),
    };
    AlertOutcome { fired, active_at_s: worst.and_then(|w| w.since_s), ..open(fault, format!("{text}{lost}")) }
}

/// Why nobody can say that it did not fire in this window: a stretch of more than five looks without an answer reaches into it.
fn blind(log: &AlertLog, (begun, until): (f64, f64), times: &Times<'_>) -> Option<String> {
    let limit_s = (5.0 * times.every_s).max(GAP_MIN_S);
    // Once looking has ended, nobody is missed.
    let to_end = |(from, to): (f64, f64)| (from, to.min(times.end_s));
    let last = log.last_s.map(|last_s| (last_s, times.end_s));
    let gaps = log.gaps.iter().copied().chain(last).map(to_end);
    let inside = gaps.filter(|gap| length(*gap) > limit_s && gap.0 < until && gap.1 > begun);
    match inside.max_by(|a, b| length(*a).total_cmp(&length(*b))) {
        Some((from, to)) => Some(format!("nobody answered from {from:.1} to {to:.1} s")),
        None if log.gap_not_kept_s > limit_s => Some(format!(
            "nobody answered for {:.1} s or longer more than {GAPS_MAX} times, perhaps just then",
            log.gap_not_kept_s
        )),
        None => None,
    }
}

/// The last look that still saw the state that began with this change.
fn last_seen(log: &AlertLog, change: &Change) -> f64 {
    let next = log.changes.iter().find(|c| c.at_s > change.at_s);
    next.and_then(|c| c.not_before_s).or(log.last_s).unwrap_or(change.at_s)
}

fn suppressed(name: &str, change: &Change, at: f64) -> String {
    format!(
        "{name} was {}{} {:.1} s after the fault, and so reached nobody",
        change.state.word(),
        change.by,
        (change.at_s - at).max(0.0)
    )
}

fn rule_words(log: &AlertLog) -> &'static str {
    if log.rule_known == Some(false) { ": the server has no alerting rule of this name" } else { "" }
}

fn lost_words(log: &AlertLog) -> String {
    match (&log.first_lost, log.lost) {
        (Some(first), lost) => format!("; {lost} of {} looks were not answered, first: {first}", log.looks + lost),
        (None, _) => String::new(),
    }
}

fn fired(
    probe: &AlertProbe,
    log: &AlertLog,
    fault: usize,
    (begun, at): (f64, f64),
    change: &Change,
    quiet_s: Option<f64>,
) -> AlertOutcome {
    let name = &probe.alert;
    let not_fired = change.not_before_s.unwrap_or(begun);
    let (seen_s, no_sooner_s) = ((change.at_s - at).max(0.0), (not_fired - at).max(0.0));
    let resolved = log.changes.iter().find(|c| c.at_s > change.at_s).map(|c| c.at_s);
    let mut outcome = AlertOutcome {
        fired_at_s: Some(change.at_s),
        not_fired_at_s: Some(not_fired),
        active_at_s: change.since_s,
        resolved_at_s: resolved,
        ..open(fault, String::new())
    };
    // Active before the fault, and later than a look that saw it quiet: it was on its way already. Before even that look: clocks differ.
    if let Some(since) = change.since_s.filter(|s| *s < begun)
        && quiet_s.is_none_or(|quiet| since > quiet)
    {
        let early = begun - since;
        outcome.text =
            format!("{name} was active {early:.1} s before the fault by the server's clock: it proves nothing");
        return outcome;
    }
    outcome.time_to_alert_s = Some(seen_s);
    outcome.no_sooner_s = Some(no_sooner_s);
    let server = change.since_s.map_or(String::new(), |since| match since - at {
        _ if since < begun => "; the server's clock is not ours".to_owned(),
        s => format!("; active after {:.1} s by the server's clock", s.max(0.0)),
    });
    let seen = format!("{name} fired after {no_sooner_s:.1} to {seen_s:.1} s{server}{}", lost_words(log));
    (outcome.fired, outcome.text) = match probe.within {
        None => (Fired::Fired, seen),
        Some(within) if seen_s <= within.as_secs_f64() => (Fired::Fired, seen),
        Some(within) if no_sooner_s > within.as_secs_f64() => {
            (Fired::Late, format!("{seen}, promised within {}", show_duration(within)))
        }
        Some(within) => {
            let text =
                format!("{seen}: whether that is within {} cannot be told, look more often", show_duration(within));
            (Fired::Unknown, text)
        }
    };
    outcome
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::AlertState::{Firing, Inactive, Inhibited, Pending, Silenced};
    use super::*;
    use crate::plan::{Service, Url};

    fn probe(api: AlertApi) -> AlertProbe {
        let url = Url { tls: false, host: "prom".into(), port: 9090, path: String::new() };
        AlertProbe {
            server: Service { url, headers: vec![], ca: None },
            api,
            alert: "Drift".into(),
            labels: BTreeMap::from([("service".into(), "fraud".into())]),
            faults: vec![0],
            within: None,
        }
    }

    fn state_of(api: AlertApi, body: &str) -> (AlertState, Option<i128>, String) {
        let seen = read(&probe(api), 200, body.as_bytes()).unwrap();
        (seen.state, seen.since_ns, seen.by)
    }

    #[test]
    fn alerts_of_prometheus() {
        let alerts = |all: &str| {
            let body = format!(r#"{{"status":"success","data":{{"alerts":[{all}]}}}}"#);
            state_of(AlertApi::Prometheus, &body)
        };
        let one = |state: &str, name: &str, service: &str, at: &str| {
            format!(
                r#"{{"activeAt":"{at}","annotations":{{}},"labels":{{"alertname":"{name}","service":"{service}"}},"state":"{state}","value":"1e+00"}}"#
            )
        };
        assert_eq!(alerts(""), (Inactive, None, String::new()));
        assert_eq!(alerts(&one("firing", "Drift", "other", "2018-07-04T20:27:12.60602144+02:00")).0, Inactive);
        assert_eq!(alerts(&one("firing", "Other", "fraud", "2018-07-04T20:27:12.60602144+02:00")).0, Inactive);
        let seen = alerts(&one("pending", "Drift", "fraud", "2018-07-04T20:27:12.60602144+02:00"));
        assert_eq!(seen, (Pending, Some(1_530_728_832_606_021_440), String::new()));
        let late = one("firing", "Drift", "fraud", "2018-07-04T18:30:00Z");
        let early = one("firing", "Drift", "fraud", "2018-07-04T18:29:00Z");
        let all = [one("pending", "Drift", "fraud", "2018-07-04T18:00:00Z"), late, early].join(",");
        assert_eq!(alerts(&all).1, Some(1_530_728_940_000_000_000), "firing first, and of those the oldest");
    }

    #[test]
    fn alerts_of_alertmanager() {
        let alerts = |status: &str| {
            let labels = r#"{"alertname":"Drift","service":"fraud"}"#;
            let body = format!(r#"[{{"labels":{labels},"startsAt":"2018-07-04T18:30:00.000Z","status":{status}}}]"#);
            let (state, _, by) = state_of(AlertApi::Alertmanager, &body);
            (state, by)
        };
        let active = r#"{"state":"active","silencedBy":[],"inhibitedBy":[]}"#;
        assert_eq!(alerts(active), (Firing, String::new()));
        let silenced = r#"{"state":"suppressed","silencedBy":["a-b"],"inhibitedBy":[]}"#;
        assert_eq!(alerts(silenced), (Silenced, " by a-b".into()));
        let inhibited = r#"{"state":"suppressed","silencedBy":[],"inhibitedBy":["c"]}"#;
        assert_eq!(alerts(inhibited), (Inhibited, " by c".into()));
        assert_eq!(alerts(r#"{"state":"unprocessed"}"#).0, Pending);
    }

    #[test]
    fn what_is_no_list_of_alerts_is_an_error() {
        for (api, status, body, words) in [
            (AlertApi::Prometheus, 503, "busy", "status 503, and no JSON: busy"),
            (AlertApi::Prometheus, 200, "{}", "no list of alerts"),
            (AlertApi::Alertmanager, 200, r#"{"a":1}"#, "no list of alerts"),
            (AlertApi::Alertmanager, 400, r#""bad matcher format""#, "status 400: bad matcher format"),
            (AlertApi::Prometheus, 500, r#"{"status":"error","error":"oh"}"#, "status 500: oh"),
        ] {
            let why = read(&probe(api), status, body.as_bytes()).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }

    /// Looks each second from −1 s on, of which each is one letter; `x` is one without an answer.
    fn log(looks: &str, since_s: Option<f64>) -> AlertLog {
        let mut log = AlertLog::default();
        for (i, letter) in looks.chars().enumerate() {
            let state = match letter {
                '.' => Inactive,
                'p' => Pending,
                'i' => Inhibited,
                's' => Silenced,
                'F' => Firing,
                _ => {
                    log.lost("timeout");
                    continue;
                }
            };
            let since_ns = since_s.filter(|_| state != Inactive).map(|s| (s * 1e9) as i128);
            log.note(i as f64 - 1.0, &Seen { state, since_ns, by: String::new() }, 0);
        }
        log
    }

    fn judged(probe: &AlertProbe, log: &AlertLog, applied: &[Option<f64>], end_s: f64) -> Vec<(Fired, Option<f64>)> {
        let applied: Vec<_> = applied.iter().map(|a| a.map(|at| (at, at))).collect();
        let times = Times { applied_s: &applied, every_s: 1.0, end_s };
        judge(probe, log, &times).iter().map(|o| (o.fired, o.time_to_alert_s)).collect()
    }

    #[test]
    fn time_to_the_alert_has_two_bounds() {
        let log = log("......ppFFF.", Some(4.5));
        let times = Times { applied_s: &[Some((3.5, 3.5))], every_s: 1.0, end_s: 11.0 };
        let outcome = judge(&probe(AlertApi::Prometheus), &log, &times).remove(0);
        assert_eq!((outcome.fired, outcome.fired_at_s, outcome.resolved_at_s), (Fired::Fired, Some(7.0), Some(10.0)));
        assert_eq!((outcome.no_sooner_s, outcome.time_to_alert_s), (Some(2.5), Some(3.5)));
        assert_eq!(outcome.text, "Drift fired after 2.5 to 3.5 s; active after 1.0 s by the server's clock");
    }

    #[test]
    fn only_what_begins_after_the_fault_counts() {
        let p = probe(AlertApi::Prometheus);
        for (looks, since, wanted) in [
            ("..........", None, (Fired::Not, None)),
            ("....pp....", None, (Fired::Pending, None)),
            ("FFFFFFFFFF", None, (Fired::Unknown, None)),
            ("FFFF..FFFF", None, (Fired::Unknown, None)),
            ("pppppFFFFF", None, (Fired::Unknown, None)),
            ("pppp..FFFF", None, (Fired::Fired, Some(2.5))),
            // Active at 2.2, after the look at 2 and before the fault at 2.5.
            ("....FFFFFF", Some(2.2), (Fired::Unknown, None)),
            // Active at 1.5 by its clock, though it was quiet at 2 by ours: two clocks.
            ("....FFFFFF", Some(1.5), (Fired::Fired, Some(0.5))),
            ("......ssss", None, (Fired::Silenced, None)),
            ("......siii", None, (Fired::Silenced, None)),
            ("......iiii", None, (Fired::Inhibited, None)),
            ("......ssFF", None, (Fired::Fired, Some(4.5))),
            ("xxxxxxFFFF", None, (Fired::Unknown, None)),
            ("....xxxxxx", None, (Fired::Unknown, None)),
            ("....xx....", None, (Fired::Not, None)),
            ("....xxFFFF", None, (Fired::Fired, Some(2.5))),
        ] {
            assert_eq!(judged(&p, &log(looks, since), &[Some(2.5)], 8.5), [wanted], "{looks}");
        }
        assert_eq!(judged(&p, &log("....FF", None), &[None], 5.0), [(Fired::Unknown, None)]);
        let lost =
            judge(&p, &log("....xxFFFF", None), &Times { applied_s: &[Some((2.5, 2.5))], every_s: 1.0, end_s: 8.5 });
        assert!(lost[0].text.contains("2 of 10 looks were not answered, first: timeout"), "{}", lost[0].text);
        assert_eq!(lost[0].no_sooner_s, Some(0.0), "the bounds are as wide as the gap");
    }

    #[test]
    fn each_fault_has_an_alert_of_its_own() {
        let p = AlertProbe { faults: vec![0, 1, 2], ..probe(AlertApi::Prometheus) };
        let applied = [Some(0.5), Some(4.5), Some(8.5)];
        let seen = judged(&p, &log("..FF..FF........", None), &applied, 14.0);
        assert_eq!(seen, [(Fired::Fired, Some(0.5)), (Fired::Fired, Some(0.5)), (Fired::Not, None)]);
    }

    #[test]
    fn it_did_not_fire_only_where_somebody_was_looking() {
        let p = AlertProbe { faults: vec![0, 1], ..probe(AlertApi::Prometheus) };
        let seen = log("....xxxxxxxx........", None);
        let times = Times { applied_s: &[Some((2.5, 2.5)), Some((12.5, 12.5))], every_s: 1.0, end_s: 18.0 };
        let outcomes = judge(&p, &seen, &times);
        assert_eq!((outcomes[0].fired, outcomes[1].fired), (Fired::Unknown, Fired::Not));
        let words = "Drift was not seen firing, and nobody answered from 2.0 to 11.0 s; 8 of 20 looks";
        assert!(outcomes[0].text.starts_with(words), "{}", outcomes[0].text);
        // For looks every 2 s it is no long stretch.
        assert_eq!(judge(&p, &seen, &Times { every_s: 2.0, ..times })[0].fired, Fired::Not);
        // It had begun before the fault.
        let applied = [Some(9.5), Some(12.5)];
        assert_eq!(judged(&p, &seen, &applied, 18.0), [(Fired::Unknown, None), (Fired::Not, None)]);
        // What fires after it did fire.
        assert_eq!(judged(&p, &log("....xxxxxxxxFF", None), &[Some(2.5), None], 12.0)[0], (Fired::Fired, Some(8.5)));
        // The last look of the run comes long after looking has ended.
        let mut late = log("..........", None);
        late.note(60.0, &Seen { state: Inactive, since_ns: None, by: String::new() }, 0);
        assert_eq!(judged(&p, &late, &[Some(2.5), None], 9.0)[0].0, Fired::Not);
    }

    #[test]
    fn gaps_are_bounded_and_none_is_forgotten() {
        let quiet = Seen { state: Inactive, since_ns: None, by: String::new() };
        let log_of = |sparse: u32| {
            let mut log = AlertLog::default();
            for at_s in (0..sparse).map(|i| i * 10).chain((0..200).map(|i| sparse * 10 + i)) {
                log.note(f64::from(at_s), &quiet, 0);
            }
            log
        };
        for (sparse, wanted) in [(0, Fired::Not), (60, Fired::Not), (70, Fired::Unknown)] {
            let (log, begin) = (log_of(sparse), f64::from(sparse) * 10.0);
            assert_eq!(log.gaps.len(), GAPS_MAX);
            let p = probe(AlertApi::Prometheus);
            assert_eq!(judged(&p, &log, &[Some(begin + 20.5)], begin + 199.0)[0].0, wanted, "{sparse}");
        }
    }

    #[test]
    fn within_a_promise() {
        let p = |s| AlertProbe { within: Some(Duration::from_secs_f64(s)), ..probe(AlertApi::Prometheus) };
        let log = log("......FFFF", None);
        for (within, wanted) in [(3.0, Fired::Fired), (1.0, Fired::Late), (2.0, Fired::Unknown)] {
            assert_eq!(judged(&p(within), &log, &[Some(2.5)], 8.5)[0].0, wanted, "{within}");
        }
    }

    #[test]
    fn what_a_fault_does_while_it_is_applied_is_of_the_fault() {
        let times = Times { applied_s: &[Some((2.5, 4.5))], every_s: 1.0, end_s: 8.5 };
        let outcome = judge(&probe(AlertApi::Prometheus), &log("....FFFFFF", Some(2.7)), &times).remove(0);
        assert_eq!((outcome.fired, outcome.time_to_alert_s, outcome.no_sooner_s), (Fired::Fired, Some(0.0), Some(0.0)));
    }

    #[test]
    fn a_rule_that_is_not_there_is_said() {
        let log = AlertLog { rule_known: Some(false), ..log("........", None) };
        let times = Times { applied_s: &[Some((2.5, 2.5))], every_s: 1.0, end_s: 6.5 };
        let text = judge(&probe(AlertApi::Prometheus), &log, &times).remove(0).text;
        assert_eq!(text, "Drift did not fire: the server has no alerting rule of this name");
    }
}
