//! What a run measured, put together: spans, seconds, slots. Pure.
//!
//! `record/` collects slots of at most 100 ms; here they are merged into whatever stretch of time a
//! question is about. Owns the definitions of the metrics; leaves alone bounds and verdicts (`objective.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::hist::{Hist, bucket_of, bucket_top, rank_of};
use crate::outcome::ErrorClass;
use crate::plan::{Expect, SpanRef};
use crate::units::{Offset, PhaseId, Quantile};

/// Everything measured over one stretch of time, by *due*.
#[derive(Clone, Debug, Default)]
pub struct SpanStats {
    /// First instant.
    pub start: Offset,
    /// First instant after it.
    pub end: Offset,
    /// Arrivals due.
    pub planned: u64,
    /// Of those, put on the wire (or tried to).
    pub sent: u64,
    /// Good answers.
    pub ok: u64,
    /// Never sent: the in-flight limit was reached.
    pub shed: u64,
    /// Arrivals due that a payload fault altered, wherever they are counted.
    pub altered: u64,
    /// Of those, counted apart: they are in no other number here, `planned` included, but in those that tell of the generator
    /// (`lag`, `late_apart`, `client_apart`).
    pub altered_apart: u64,
    /// Of those counted apart, sent later than the lag limit, or not sent by then.
    pub late_apart: u64,
    /// Of those counted apart, failed on our own side.
    pub client_apart: u64,
    /// Requests that were not good, by [`ErrorClass`] as index.
    pub errors: [u64; ErrorClass::ALL.len()],
    /// done − due of good answers.
    pub latency_ok: Hist,
    /// done − due of sent requests that failed.
    pub latency_failed: Hist,
    /// done − sent of good answers.
    pub service: Hist,
    /// Connecting (DNS, TCP, TLS), for requests that waited for it.
    pub connect: Hist,
    /// Of that, the TLS handshake.
    pub handshake: Hist,
    /// sent − due of everything sent, altered or not.
    pub lag: Hist,
    /// Good answers *done* in this stretch, whenever they were due.
    pub done_ok: u64,
    /// Sent later than the lag limit, or not sent by then (DESIGN 5.8).
    pub late: u64,
    /// First token − due of good streams.
    pub ttft: Hist,
    /// From one token to the next, every gap of every good stream.
    pub itl: Hist,
    /// Output tokens of good answers, by *due*.
    pub output_tokens: u64,
    /// Output tokens of good answers *done* in this stretch, whenever they were due.
    pub done_tokens: u64,
    /// What answers said.
    pub quality: Quality,
    /// The same stretch second by second, in order, for the block bootstrap.
    pub seconds: Vec<SecondStats>,
}

impl SpanStats {
    /// How long, in seconds.
    pub fn duration_s(&self) -> f64 {
        self.end.since(self.start).as_secs_f64()
    }

    /// Everything that was due, altered or not.
    pub fn due(&self) -> u64 {
        self.planned + self.altered_apart
    }

    /// Σ errors.
    pub fn failed(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// 1 − ok/planned; none without arrivals.
    pub fn error_rate(&self) -> Option<f64> {
        share(self.planned - self.ok, self.planned)
    }

    /// The latency quantile over every planned arrival, failed and shed ones being infinite: the outer
    /// `None` without arrivals, `Some(None)` when it is infinite. ns.
    pub fn latency(&self, q: Quantile) -> Option<Option<u64>> {
        (self.planned > 0).then(|| self.latency_ok.value_at_rank(rank_of(q.share(), self.planned)))
    }

    /// The largest latency of any answer or failure; infinite (`Some(None)`) when something was shed or unfinished.
    pub fn latency_max(&self) -> Option<Option<u64>> {
        (self.planned > 0).then(|| (self.ok == self.planned).then(|| self.latency_ok.max()))
    }

    /// Share of planned arrivals good within this time; none without arrivals.
    pub fn good_ratio(&self, within: Duration) -> Option<f64> {
        share(self.latency_ok.count_at_or_below(within.as_nanos() as u64), self.planned)
    }

    /// Good answers done per second; none for an empty stretch.
    pub fn throughput(&self) -> Option<f64> {
        (self.duration_s() > 0.0).then(|| self.done_ok as f64 / self.duration_s())
    }

    /// Arrivals that a first token is counted over: all but good answers that were no stream.
    pub fn streams_planned(&self) -> u64 {
        self.planned - (self.ok - self.ttft.count())
    }

    /// The quantile of the time to first token over every planned stream, failed and shed ones being infinite: the outer `None`
    /// without arrivals, `Some(None)` when it is infinite. ns.
    pub fn ttft(&self, q: Quantile) -> Option<Option<u64>> {
        let n = self.streams_planned();
        (n > 0).then(|| self.ttft.value_at_rank(rank_of(q.share(), n)))
    }

    /// Output tokens per second, of good answers done here; none for an empty stretch.
    pub fn token_rate(&self) -> Option<f64> {
        (self.duration_s() > 0.0).then(|| self.done_tokens as f64 / self.duration_s())
    }

    /// Did the generator keep up here (DESIGN 5.8)? At least 99 % sent in time and `client` errors below 0.1 %, of everything that
    /// was due: it sends what is counted apart, too.
    pub fn kept_up(&self) -> bool {
        let client = self.errors[ErrorClass::Client as usize] + self.client_apart;
        keeps_up(self.due(), self.late + self.late_apart, client)
    }
}

/// At least 99 % sent in time, and at most 0.1 % failed on our own side (DESIGN 5.8).
pub(crate) fn keeps_up(planned: u64, late: u64, client: u64) -> bool {
    late as f64 <= 0.01 * planned as f64 && client as f64 <= 0.001 * planned as f64
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Units of an age in a second: ages are kept in the histograms of latencies, a microsecond in the place of a nanosecond, so that
/// they are told apart from 1 ms to 1000 hours.
pub const AGE_UNITS: f64 = 1e6;

/// What good answers said.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    /// Predictions whose row has a label.
    pub labelled: u64,
    /// Of those, equal to the label.
    pub correct: u64,
    /// Predictions whose row was answered before the first fault.
    pub compared: u64,
    /// Of those, the same answer.
    pub agreed: u64,
    /// Good answers in which a fallback level was looked for.
    pub fallback_known: u64,
    /// Of those, with a level above 0.
    pub fallback: u64,
    /// Age of the features behind good answers that told one, in [`AGE_UNITS`].
    pub ages: Hist,
    /// Answers by model version; at most 32 names, the rest is `other`.
    pub versions: BTreeMap<String, u64>,
    /// Answers by fallback level, likewise.
    pub levels: BTreeMap<String, u64>,
}

impl Quality {
    /// Share of labelled answers that are right.
    pub fn accuracy(&self) -> Option<f64> {
        share(self.correct, self.labelled)
    }

    /// Share of answers that are the same as at baseline.
    pub fn agreement(&self) -> Option<f64> {
        share(self.agreed, self.compared)
    }

    /// Share of answers that came from a fallback.
    pub fn fallback_rate(&self) -> Option<f64> {
        share(self.fallback, self.fallback_known)
    }

    /// The quantile of the age of features, seconds; none where no answer told one.
    pub fn freshness(&self, q: Quantile) -> Option<f64> {
        self.ages.quantile(q.share()).map(|age| age as f64 / AGE_UNITS)
    }
}

/// One second (or the part of it that lies in a span), by *due*.
#[derive(Clone, Debug, Default)]
pub struct SecondStats {
    /// First instant.
    pub start: Offset,
    /// Arrivals due.
    pub planned: u64,
    /// Good answers.
    pub ok: u64,
    /// Latency of good answers as (bucket, count), ascending; see `hist::bucket_of`.
    pub latency_ok: Vec<(u16, u32)>,
}

/// At most 100 ms, by *due*. Slots never cross a phase edge or a moment at which a fault was applied or reverted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slot {
    /// First instant.
    pub start: Offset,
    /// First instant after it.
    pub end: Offset,
    /// Its phase.
    pub phase: PhaseId,
    /// Its phase is measured.
    pub measured: bool,
    /// Arrivals due, without those that the end of the run left unfinished.
    pub planned: u64,
    /// Good answers.
    pub ok: u64,
    /// Sent later than the lag limit, or not sent by then.
    pub late: u64,
    /// Failed on our own side.
    pub client: u64,
    /// Latency of good answers as (bucket, count), ascending.
    pub latency_ok: Vec<(u16, u32)>,
}

impl Slot {
    /// Good answers within this time.
    pub fn good(&self, within: Duration) -> u64 {
        let limit = bucket_of(within.as_nanos() as u64);
        self.latency_ok.iter().take_while(|(b, _)| *b <= limit).map(|(_, n)| u64::from(*n)).sum()
    }
}

/// Latency quantiles of pooled (bucket, count) lists over `planned` arrivals; none when infinite or empty. ns.
pub fn pooled_quantiles<const N: usize>(parts: &[&[(u16, u32)]], planned: u64, shares: [f64; N]) -> [Option<u64>; N] {
    let last = parts.iter().filter_map(|p| p.last()).map(|(bucket, _)| usize::from(*bucket)).max();
    let mut counts = vec![0; last.map_or(0, |last| last + 1)];
    parts.iter().flat_map(|p| p.iter()).for_each(|(b, n)| counts[usize::from(*b)] += u64::from(*n));
    shares.map(|share| {
        let rank = rank_of(share, planned);
        let mut seen = 0;
        let reaches = |n: &u64| {
            seen += n;
            seen >= rank && rank > 0
        };
        counts.iter().position(reaches).map(|bucket| bucket_top(bucket as u16))
    })
}

/// The requests that one payload fault altered, and those due in its time that nobody did.
#[derive(Clone, Debug, Default)]
pub struct Altered {
    /// What was altered.
    pub altered: SpanStats,
    /// Its unaltered twins: what was due while it was in force.
    pub twins: SpanStats,
    /// Distinct bodies that were made for it.
    pub bodies: usize,
}

impl Altered {
    /// Of those that were altered, the ones that came to the service.
    pub fn reached(&self) -> u64 {
        use ErrorClass::{Client, ConnectTimeout, Dns, Refused, Tls, Unfinished};
        let nowhere = [Refused, ConnectTimeout, Dns, Tls, Client, Unfinished];
        let lost: u64 = nowhere.iter().map(|c| self.altered.errors[*c as usize]).sum();
        self.altered.planned - self.altered.shed - lost
    }

    /// Those that say something about the service: not shed, not failed on our own side, not on a connection that was gone, not cut
    /// off by the end of the run.
    pub fn judged(&self) -> u64 {
        let ours = [ErrorClass::Client, ErrorClass::IdleClosed, ErrorClass::Unfinished];
        let ours: u64 = ours.iter().map(|c| self.altered.errors[*c as usize]).sum();
        self.altered.planned - self.altered.shed - ours
    }

    /// Answered with a 4xx.
    pub fn rejected(&self) -> u64 {
        self.altered.errors[ErrorClass::Status4xx as usize]
    }

    /// Answered well, by the protocol.
    pub fn answered(&self) -> u64 {
        self.altered.ok
    }

    /// Of those judged, neither rejected nor answered: a 5xx, a hang, a reset, an answer that is none.
    pub fn failed(&self) -> u64 {
        self.judged() - self.rejected() - self.answered()
    }

    /// Those that ended as they should.
    pub fn as_expected(&self, expect: Expect) -> u64 {
        match expect {
            Expect::Rejected => self.rejected(),
            Expect::Answered => self.answered(),
            Expect::Either => self.rejected() + self.answered(),
        }
    }
}

/// Everything that a run measured.
#[derive(Clone, Debug, Default)]
pub struct RunSummary {
    /// One per phase, in order.
    pub phases: Vec<SpanStats>,
    /// Per fault: `during:` and `after:`, where they exist.
    pub spans: BTreeMap<SpanRef, SpanStats>,
    /// The whole run, in order.
    pub slots: Vec<Slot>,
    /// What became of the requests that a payload fault altered, by its index into `Plan::faults`.
    pub altered: BTreeMap<usize, Altered>,
}

impl RunSummary {
    /// The statistics of a span.
    pub fn span(&self, span: &SpanRef) -> Option<&SpanStats> {
        match span {
            SpanRef::Phase(id) => self.phases.get(id.0 as usize),
            other => self.spans.get(other),
        }
    }
}
