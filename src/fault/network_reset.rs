//! `network-reset`: the link resets open connections at once and new ones as they come.
//!
//! Proven by the connections that it reset.

use std::sync::Arc;

use super::injector::{Proof, ProofLevel};
use super::link_fault::{OnLink, dependency};
use crate::clock::Clock;
use crate::plan::{Direction, FaultTarget};
use crate::platform::{LinkEffect, LinkEvidence, Replicas};

pub(super) fn new(replicas: Arc<dyn Replicas>, clock: Clock, target: &FaultTarget) -> OnLink {
    OnLink {
        replicas,
        clock,
        dependency: dependency(target),
        effect: LinkEffect::Reset,
        direction: Direction::Both,
        mechanism: "the link resets connections (RST)".to_owned(),
        judge,
        put_on: Vec::new(),
    }
}

fn judge(_effect: &LinkEffect, seen: &LinkEvidence) -> Proof {
    if seen.resets == 0 {
        return Proof::none("there was no connection to reset");
    }
    let evidence = format!("{} connections reset", seen.resets);
    Proof { level: ProofLevel::Effect, touched: seen.resets, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_must_have_been_reset() {
        let seen = |resets| LinkEvidence { resets, ..LinkEvidence::default() };
        assert!(judge(&LinkEffect::Reset, &seen(2)).proven());
        assert!(!judge(&LinkEffect::Reset, &seen(0)).proven());
    }
}
