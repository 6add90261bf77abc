//! After the run: what became of the requests that payload faults altered, and whether that proves them.

use std::collections::BTreeMap;
use std::io;

use crate::fault::injector::{Proof, ProofLevel};
use crate::plan::Plan;
use crate::record::assemble;
use crate::report::format::{count, percent};
use crate::run::Measured;
use crate::summary::Altered;
use crate::units::Offset;

/// Counts them, and puts the proof into the faults' records: only now is it known how many were really sent.
///
/// # Errors
/// When the records of the load cannot be read.
pub(super) fn conclude(plan: &Plan, measured: &mut Measured) -> io::Result<BTreeMap<usize, Altered>> {
    let faults: Vec<usize> = plan.payloads().map(|(fault, _)| fault).collect();
    let window = |fault: &usize| {
        let record = &measured.faults[*fault];
        let until = record.reverted_at.unwrap_or(measured.load_end).min(measured.load_end);
        record.applied_at.map_or((Offset::ZERO, Offset::ZERO), |from| (from, until.max(from)))
    };
    let windows: Vec<(Offset, Offset)> = faults.iter().map(window).collect();
    if faults.is_empty() {
        return Ok(BTreeMap::new());
    }
    let Some(load) = &mut measured.load else { return Ok(BTreeMap::new()) };
    let mut all = assemble::altered(&mut load.collected, &windows)?;
    for (seen, bodies) in all.iter_mut().zip(&load.bodies) {
        seen.bodies = *bodies;
    }
    for (fault, seen) in faults.iter().zip(&all) {
        let record = &mut measured.faults[*fault];
        if record.applied_at.is_some() {
            record.proof = proof(seen);
        }
    }
    Ok(faults.into_iter().zip(all).collect())
}

/// Altered requests that came to the service are the effect.
fn proof(seen: &Altered) -> Proof {
    let (altered, reached) = (seen.altered.planned, seen.reached());
    let due = altered + seen.twins.planned;
    if altered == 0 {
        return Proof::none(format!("none of the {} requests due in its time was altered", count(due)));
    }
    let share = percent(altered as f64 / due as f64);
    let evidence = format!(
        "{} of the {} requests due in its time were altered ({share}), and {} of them came to the service; {} bodies were made for it",
        count(altered),
        count(due),
        count(reached),
        count(seen.bodies as u64)
    );
    let level = if reached > 0 { ProofLevel::Effect } else { ProofLevel::None };
    Proof { level, touched: reached, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ErrorClass;
    use crate::summary::SpanStats;

    #[test]
    fn what_never_came_to_the_service_proves_nothing() {
        let seen = |errors: &[(ErrorClass, u64)]| {
            let mut altered = SpanStats { planned: 1_000, ..SpanStats::default() };
            errors.iter().for_each(|(class, n)| altered.errors[*class as usize] = *n);
            let twins = SpanStats { planned: 9_000, ..SpanStats::default() };
            Altered { altered, twins, bodies: 20 }
        };
        let good = proof(&seen(&[(ErrorClass::Status4xx, 990), (ErrorClass::Refused, 10)]));
        assert_eq!((good.proven(), good.touched), (true, 990));
        assert!(good.evidence.contains("1,000 of the 10,000") && good.evidence.contains("(10.0 %)"), "{good:?}");
        assert!(!proof(&seen(&[(ErrorClass::Refused, 600), (ErrorClass::ConnectTimeout, 400)])).proven());
        let none = Altered { altered: SpanStats::default(), ..seen(&[]) };
        assert!(!proof(&none).proven() && proof(&none).evidence.contains("none of the 9,000"));
    }
}
