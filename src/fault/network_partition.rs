//! `network-partition`: the link is a black hole; connections stay open and nothing arrives.
//!
//! Proven by bytes that it swallowed.

use std::sync::Arc;

use super::injector::{Proof, ProofLevel};
use super::link_fault::{OnLink, dependency, way};
use crate::clock::Clock;
use crate::plan::{Direction, FaultTarget};
use crate::platform::{LinkEffect, LinkEvidence, Replicas};

pub(super) fn new(replicas: Arc<dyn Replicas>, clock: Clock, target: &FaultTarget, direction: Direction) -> OnLink {
    OnLink {
        replicas,
        clock,
        dependency: dependency(target),
        effect: LinkEffect::Blackhole,
        direction,
        mechanism: format!("the link swallows {}", way(direction)),
        judge,
        put_on: Vec::new(),
    }
}

fn judge(_effect: &LinkEffect, seen: &LinkEvidence) -> Proof {
    if seen.bytes == 0 {
        return Proof::none("no byte came to the partitioned link");
    }
    let evidence = format!("{} bytes of {} connections swallowed", seen.bytes, seen.connections);
    Proof { level: ProofLevel::Effect, touched: seen.connections.max(1), evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_have_been_swallowed() {
        let seen = LinkEvidence { connections: 3, bytes: 700, ..LinkEvidence::default() };
        assert!(judge(&LinkEffect::Blackhole, &seen).proven());
        let silent = LinkEvidence { bytes: 0, ..seen };
        assert!(!judge(&LinkEffect::Blackhole, &silent).proven());
    }
}
