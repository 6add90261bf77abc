//! `network-bandwidth`: the link passes at most so many bytes per second, each way.
//!
//! Proven by bytes that had to wait for their turn: a limit that load never reaches has no effect, and is not proven.

use std::sync::Arc;
use std::time::Duration;

use super::injector::{Proof, ProofLevel};
use super::link_fault::{OnLink, dependency, way};
use crate::clock::Clock;
use crate::plan::{Direction, FaultTarget};
use crate::platform::{LinkEffect, LinkEvidence, Replicas};
use crate::units::show_measured;

pub(super) fn new(
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    target: &FaultTarget,
    rate: u64,
    direction: Direction,
) -> OnLink {
    let way = way(direction);
    OnLink {
        replicas,
        clock,
        dependency: dependency(target),
        effect: LinkEffect::Bandwidth { rate },
        direction,
        mechanism: format!("the link passes at most {rate} bytes/s of {way}"),
        judge,
        put_on: Vec::new(),
    }
}

fn judge(_: &LinkEffect, seen: &LinkEvidence) -> Proof {
    if seen.held_ns == 0 {
        return Proof::none("no byte had to wait: what came by stayed below the limit");
    }
    let mean = Duration::from_nanos(seen.held_ns / seen.chunks.max(1));
    let evidence = format!(
        "{} bytes of {} connections had to wait for their turn, {} on average",
        seen.bytes,
        seen.connections,
        show_measured(mean),
    );
    Proof { level: ProofLevel::Effect, touched: seen.chunks, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_not_reached_is_not_proven() {
        let effect = LinkEffect::Bandwidth { rate: 1000 };
        let seen = |chunks, held_ns| LinkEvidence { connections: 2, bytes: 640, chunks, held_ns, resets: 0 };
        let held = judge(&effect, &seen(10, 50_000_000));
        assert!(held.proven() && held.evidence.starts_with("640 bytes of 2 connections had to wait"), "{held:?}");
        assert!(!judge(&effect, &seen(0, 0)).proven());
    }
}
