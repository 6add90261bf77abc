//! `network-delay`: the link holds every chunk back for latency ± jitter.
//!
//! Proven by chunks that were really held back, and for how long.

use std::sync::Arc;
use std::time::Duration;

use super::injector::{Proof, ProofLevel};
use super::link_fault::{OnLink, dependency, way};
use crate::clock::Clock;
use crate::plan::{Direction, FaultTarget};
use crate::platform::{LinkEffect, LinkEvidence, Replicas};
use crate::units::{show_duration, show_measured};

pub(super) fn new(
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    target: &FaultTarget,
    latency: Duration,
    jitter: Duration,
    direction: Direction,
) -> OnLink {
    let (by, way) = (show_duration(latency), way(direction));
    let scatter = if jitter.is_zero() { String::new() } else { format!(" ± {}", show_duration(jitter)) };
    OnLink {
        replicas,
        clock,
        dependency: dependency(target),
        effect: LinkEffect::Delay { latency, jitter },
        direction,
        mechanism: format!("the link holds {way} back for {by}{scatter}"),
        judge,
        put_on: Vec::new(),
    }
}

fn judge(effect: &LinkEffect, seen: &LinkEvidence) -> Proof {
    let LinkEffect::Delay { latency, .. } = effect else { return Proof::none("not a delay") };
    if seen.chunks == 0 {
        return Proof::none("no byte passed the delayed link");
    }
    let mean = Duration::from_nanos(seen.held_ns / seen.chunks);
    let evidence = format!(
        "{} bytes in {} chunks of {} connections held back, {} on average",
        seen.bytes,
        seen.chunks,
        seen.connections,
        show_measured(mean),
    );
    // Uniform jitter leaves the mean at `latency`; chunks that are let go when the fault ends pull it down.
    let level = if mean * 2 >= *latency { ProofLevel::Effect } else { ProofLevel::None };
    Proof { level, touched: seen.chunks, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_have_been_held_for_about_the_time() {
        let effect = LinkEffect::Delay { latency: Duration::from_millis(100), jitter: Duration::ZERO };
        let seen = |chunks, held_ns| LinkEvidence { connections: 2, bytes: 640, chunks, held_ns, resets: 0 };
        assert!(judge(&effect, &seen(10, 1_001_000_000)).proven());
        assert!(!judge(&effect, &seen(10, 10_000_000)).proven(), "held for 1 ms each");
        let nothing = judge(&effect, &LinkEvidence::default());
        assert!(!nothing.proven() && nothing.evidence.contains("no byte passed"));
    }
}
