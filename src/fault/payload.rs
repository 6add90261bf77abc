//! `payload-drift`, `-drop`, `-corrupt`, `-malformed`, `-oversize`, `-cache-bust`: the load sends other bodies.
//!
//! Nothing outside is touched, so there is nothing to undo: this fault only opens and shuts the gate by which the load alters what is
//! due in its time. The gate is opened a little ahead, once the steady state held, so that the first altered request is
//! exactly the first that is due in it. What was altered, and what became of it, is counted with the requests: the proof is made of
//! that when the load has ended (`run/altered.rs`).

use std::sync::Arc;

use super::InjectorContext;
use super::injector::{Injector, Proof, TargetRef, Undo};
use crate::alteration::{Alterations, Gate};
use crate::clock::Clock;
use crate::plan::{Alter, Dataset, FaultPlan, Payload};
use crate::units::Offset;

pub(super) struct PayloadFault {
    alterations: Arc<Alterations>,
    clock: Clock,
    /// Index into the plan's faults.
    fault: usize,
    at: Offset,
    ends: Offset,
    mechanism: String,
}

impl PayloadFault {
    pub(super) fn new(fault: &FaultPlan, payload: &Payload, cx: &InjectorContext) -> Result<PayloadFault, String> {
        let index = cx.plan.faults.iter().position(|f| f.name == fault.name).ok_or("it is not of this plan")?;
        cx.alterations.gate(index).ok_or("the load does not know of it")?;
        let table =
            if let crate::plan::Bodies::Dataset(table) = &cx.plan.traffic.bodies { Some(&**table) } else { None };
        Ok(PayloadFault {
            alterations: cx.alterations.clone(),
            clock: cx.clock,
            fault: index,
            at: fault.at,
            ends: fault.ends(cx.plan.end()).unwrap_or(fault.at),
            mechanism: format!("the load sends {}", in_words(payload, table)),
        })
    }

    fn gate(&self) -> &Gate {
        self.alterations.gate(self.fault).expect("looked for when it was made")
    }
}

impl Injector for PayloadFault {
    fn prepare(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn undo(&self, _: &[TargetRef]) -> Vec<Undo> {
        Vec::new()
    }

    fn observe(&mut self, _: &dyn Fn(&str) -> bool) -> bool {
        // Called once shortly before its time, after the steady state was looked at. Too late, it is in force from then on only.
        if self.gate().window().is_none() {
            self.gate().open(self.at.max(self.clock.now()), self.ends);
        }
        false
    }

    fn apply(&mut self, _: &[TargetRef]) -> Result<Offset, String> {
        self.gate().window().map(|(from, _)| from).ok_or_else(|| "its gate was never opened".to_owned())
    }

    fn revert(&mut self) -> Result<(), String> {
        self.gate().shut(self.clock.now());
        Ok(())
    }

    fn ended(&self) -> Option<Offset> {
        self.gate().window().map(|(_, until)| until)
    }

    fn residue(&self) -> Vec<String> {
        Vec::new()
    }

    fn proof(&self) -> Proof {
        Proof::none("what was altered is counted when the load has ended")
    }

    fn mechanism(&self) -> String {
        self.mechanism.clone()
    }
}

/// What is sent instead of what would have been.
fn in_words(payload: &Payload, table: Option<&Dataset>) -> String {
    let named = |features: &[usize]| {
        let names = features.iter().filter_map(|f| table?.columns.get(*f)).map(String::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    match &payload.alter {
        Alter::Drift { features, shift } => format!("{} shifted by {shift} standard deviations", named(features)),
        Alter::Drop { features } => format!("bodies without {}", named(features)),
        Alter::Corrupt { features, garbage } => format!("garbage ({}) as {}", garbage.word(), named(features)),
        Alter::Malformed => "bodies that are no JSON: cut short, or with a byte that does not belong there".to_owned(),
        Alter::Oversize { batch } => format!("{batch} rows in one body"),
        Alter::CacheBust { features, .. } => format!("values of {} that were never sent before", named(features)),
    }
}
