//! `registry-alias`: an alias of a model registry points at another version, or at none, for a time.
//!
//! The alias is read before the load; that reading is the undo, so it is on disk before anything is changed. It is set
//! only if it still points there, read back at once and again while the fault is on, and put back only if it still points
//! where the fault put it: what somebody else sets meanwhile is theirs, and a fault that did not last is not proven. A
//! request whose answer did not come may land later, so that its alias is watched for a while before it counts as put
//! back. A registry is bound to no machine, so `revert` works from anywhere. Registries know no alias of a version that is
//! not there, so `to = "missing"` deletes the alias.

pub mod client;

use std::time::Duration;

use super::InjectorContext;
use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use crate::clock::Clock;
use crate::plan::{Registry, RegistryAlias};
use crate::units::{Offset, show_measured};
use client::{Back, Outcome, Points, Server, shown};

/// Between two looks at the alias while the fault is on, and what one may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct RegistryFault {
    server: Server,
    /// As journals and messages hold it: `${VAR}` unexpanded, the dependency's address filled in.
    written: Registry,
    to: Option<String>,
    create: bool,
    timeout: Duration,
    clock: Clock,
    was: Points,
    version: String,
    /// The registry's aliases end with its process.
    forgets: bool,
    /// It was changed, or may have been, and is not put back.
    sent: bool,
    applied: Option<Offset>,
    /// How long the registry took to say yes and to show it.
    took: Duration,
    last_look: Offset,
    looks: u64,
    /// Seen where the fault put it when it was to be put back.
    lasted: bool,
    /// Why it did not last, which takes its proof away.
    disturbed: Option<String>,
    troubles: Vec<String>,
}

impl RegistryFault {
    pub(super) fn new(alias: &RegistryAlias, cx: &InjectorContext) -> Result<RegistryFault, String> {
        let (mut registry, mut written) = (alias.registry.clone(), alias.registry_text.clone());
        if let Some(name) = registry.dependency() {
            let address = cx.replicas()?.dependency_address(name);
            let address = address.ok_or_else(|| format!("dependency {name} has no address on this machine"))?;
            (registry, written) = (registry.at(address), written.at(address));
        }
        Ok(RegistryFault {
            server: Server::new(&registry, alias.timeout)?,
            written,
            to: alias.to.map(|v| v.to_string()),
            create: alias.create,
            timeout: alias.timeout,
            clock: cx.clock,
            was: None,
            version: String::new(),
            forgets: false,
            sent: false,
            applied: None,
            took: Duration::ZERO,
            last_look: Offset::ZERO,
            looks: 0,
            lasted: false,
            disturbed: None,
            troubles: Vec::new(),
        })
    }

    /// One look while the fault is on; none: the registry has no such model.
    fn saw(&mut self, points: Option<Points>) {
        match points {
            Some(points) if points == self.to => self.looks += 1,
            Some(points) if points == self.was => self.note_put_back(),
            Some(points) => self.note_moved(points.as_deref()),
            None => self.note_model_gone(),
        }
    }

    fn note_moved(&mut self, now: Option<&str>) {
        self.note(format!(
            "somebody else moved alias {}: it {} now, neither where this fault put it nor where it was; it is left so",
            self.written,
            shown(now)
        ));
    }

    fn note_put_back(&mut self) {
        self.note(format!(
            "alias {} was put back while the fault was on, by somebody else or by a restart of its registry: it {}, as before",
            self.written,
            shown(self.was.as_deref())
        ));
    }

    fn note_model_gone(&mut self) {
        self.note(format!("model {} is gone, and its aliases with it", self.written.model));
    }

    /// The alias is not where the fault put it. Before the end of the fault's time that disturbs it.
    fn note(&mut self, text: String) {
        if self.applied.is_some() && !self.lasted {
            self.disturbed.get_or_insert_with(|| text.clone());
        }
        if !self.troubles.contains(&text) {
            self.troubles.push(text);
        }
    }
}

impl Injector for RegistryFault {
    fn prepare(&mut self) -> Result<(), String> {
        let (name, url) = (self.written.to_string(), &self.written.url);
        let Some(was) = self.server.alias()? else {
            return Err(format!(
                "{url} has no registered model `{}`: correct `model`, or register it",
                self.written.model
            ));
        };
        if was.is_none() && !self.create {
            let cure =
                if self.to.is_some() { ", or write create = true to have it made and deleted again" } else { "" };
            return Err(format!("{url} has no alias {name}: correct `alias`{cure}"));
        }
        if let Some(version) = &self.to
            && !self.server.has_version(version.parse().unwrap_or_default())?
        {
            return Err(format!("{url} has no version {version} of `{}`: correct `to`", self.written.model));
        }
        if was == self.to {
            return Err(format!("alias {name} {} already: the fault would change nothing", shown(was.as_deref())));
        }
        (self.version, self.forgets) = self.server.version();
        self.was = was;
        Ok(())
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        vec![Undo::RegistryAlias {
            registry: self.written.clone(),
            was: self.was.clone(),
            set: self.to.clone(),
            forgets: self.forgets,
            timeout_ms: self.timeout.as_millis() as u64,
        }]
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        let began = self.clock.now();
        // The journal says where it was before the load: what was moved since then is not ours to overwrite.
        let now = self.server.alias()?.ok_or("its registered model is gone")?;
        if now != self.was {
            let (was, now) = (shown(self.was.as_deref()), shown(now.as_deref()));
            return Err(format!("alias {} {was} before the load and {now} now: somebody moves it", self.written));
        }
        self.sent = true;
        self.server.point(self.to.as_deref())?;
        let at = self.clock.now();
        (self.took, self.last_look) = (at.since(began), at);
        Ok(*self.applied.insert(at))
    }

    fn revert(&mut self) -> Result<(), String> {
        if !self.sent {
            return Ok(());
        }
        let by_hand = client::by_hand(&self.written, self.was.as_deref());
        let moving = if self.applied.is_some() { Outcome::Known } else { Outcome::Unknown };
        let (was, to) = (self.was.as_deref(), self.to.as_deref());
        let back = self.server.put_back(was, to, self.forgets, moving, &mut self.lasted);
        match back.map_err(|e| format!("alias {} was not put back: {e}; by hand: {by_hand}", self.written))? {
            Back::Now => {}
            Back::Already if self.applied.is_none() => {}
            Back::Already => self.note_put_back(),
            Back::ModelGone => self.note_model_gone(),
            Back::RegistryGone => self.note("the registry is gone, and its aliases with it".to_owned()),
            Back::Moved(now) => self.note_moved(now.as_deref()),
        }
        self.sent = false;
        Ok(())
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        if self.applied.is_none() {
            return false;
        }
        let now = self.clock.now();
        if now.since(self.last_look) >= LOOK_EVERY {
            self.last_look = now;
            // A registry that is sick meanwhile may be part of the scenario; it says nothing of the alias.
            if let Ok(points) = self.server.within(LOOK_TIMEOUT).alias() {
                self.saw(points);
            }
        }
        true
    }

    fn troubles(&self) -> Vec<String> {
        self.troubles.clone()
    }

    fn residue(&self) -> Vec<String> {
        // What was moved or is gone has been told as a trouble, and is nobody's to put back.
        match self.server.alias() {
            Ok(Some(now)) if now == self.to && now != self.was => {
                vec![format!("alias {} still {}", self.written, shown(now.as_deref()))]
            }
            Ok(_) => Vec::new(),
            Err(_) if self.forgets => Vec::new(),
            Err(why) => vec![format!("it is not known where alias {} points: {why}", self.written)],
        }
    }

    fn proof(&self) -> Proof {
        if self.applied.is_none() {
            return Proof::none("the alias was not set");
        }
        let (was, now, took) = (shown(self.was.as_deref()), shown(self.to.as_deref()), show_measured(self.took));
        if let Some(why) = &self.disturbed {
            let evidence = format!("read back {took} after it was asked for, it {now}, but that did not last: {why}");
            return Proof::none(evidence);
        }
        let looks = match self.looks {
            0 => String::new(),
            n => format!(", and so it did in {n} looks while the fault was on"),
        };
        let evidence =
            format!("alias {} {was} before; read back {took} after it was asked for, it {now}{looks}", self.written);
        Proof { level: ProofLevel::Effect, touched: 1, evidence }
    }

    fn mechanism(&self) -> String {
        let who = if self.version.is_empty() { String::new() } else { format!(" ({})", self.version) };
        let how = match &self.to {
            Some(version) => format!("alias {} set to version {version}", self.written),
            None => format!("alias {} deleted", self.written),
        };
        format!("{how} by MLflow's REST at {}{who}", self.written.url)
    }
}

#[cfg(test)]
mod tests {
    use super::client::tests::{AT_1, AT_2, YES, registry_at, scripted};
    use super::*;

    /// From version 1 to 2; `applied`, or sent without an answer.
    fn sent(registry: &Registry, applied: bool) -> RegistryFault {
        let (timeout, clock) = (Duration::from_secs(20), Clock::starting_in(Duration::ZERO));
        RegistryFault {
            server: Server::new(registry, timeout).unwrap(),
            written: registry.clone(),
            to: Some("2".into()),
            create: false,
            timeout,
            clock,
            was: Some("1".into()),
            version: String::new(),
            forgets: false,
            sent: true,
            applied: applied.then(|| clock.now()),
            took: Duration::from_millis(3),
            last_look: clock.now(),
            looks: 0,
            lasted: false,
            disturbed: None,
            troubles: Vec::new(),
        }
    }

    fn at(version: &str) -> Option<Points> {
        Some(Some(version.to_owned()))
    }

    #[test]
    fn a_look_that_finds_it_elsewhere_takes_the_proof_away() {
        for (seen, words) in [
            (at("1"), "was put back while the fault was on, by somebody else or by a restart of its registry"),
            (at("3"), "somebody else moved alias fraud model@champion: it points at version 3 now"),
            (Some(None), "it is not there now"),
            (None, "model fraud model is gone"),
        ] {
            let mut fault = sent(&registry_at(80), true);
            fault.saw(at("2"));
            assert!(fault.proof().proven() && fault.proof().evidence.ends_with("in 1 looks while the fault was on"));
            fault.saw(seen.clone());
            fault.saw(at("2"));
            fault.saw(seen);
            let proof = fault.proof();
            assert_eq!((proof.level, proof.touched), (ProofLevel::None, 0));
            assert!(proof.evidence.contains("did not last") && proof.evidence.contains(words), "{}", proof.evidence);
            assert!(fault.troubles().len() == 1 && fault.troubles()[0].contains(words), "{:?}", fault.troubles());
        }
    }

    #[test]
    fn one_that_is_put_back_before_its_end_is_not_proven() {
        let (registry, asked) = scripted(&[AT_1]);
        let mut fault = sent(&registry, true);
        assert_eq!((fault.revert(), fault.revert()), (Ok(()), Ok(())));
        assert!(!fault.proof().proven() && fault.proof().evidence.contains("as before"), "{:?}", fault.proof());
        assert_eq!(fault.troubles().len(), 1);
        asked.join().unwrap();
        // The registry went, and its aliases with it.
        let mut fault = RegistryFault { forgets: true, ..sent(&registry, true) };
        assert_eq!(fault.revert(), Ok(()));
        assert!(!fault.proof().proven() && fault.proof().evidence.contains("registry is gone"), "{:?}", fault.proof());
    }

    #[test]
    fn an_answer_that_is_lost_while_it_is_put_back_is_no_disturbance() {
        let (registry, asked) = scripted(&[AT_2, (503, "later"), AT_1]);
        let mut fault = sent(&registry, true);
        assert_eq!(fault.revert(), Ok(()));
        assert!(fault.proof().proven() && fault.troubles().is_empty(), "{:?}", fault.troubles());
        asked.join().unwrap();
    }

    #[test]
    fn what_was_sent_without_an_answer_is_put_back_when_it_lands() {
        let (registry, asked) = scripted(&[AT_1, AT_2, YES, AT_1]);
        let mut fault = sent(&registry, false);
        assert_eq!(fault.revert(), Ok(()));
        assert!(fault.troubles().is_empty() && fault.proof().evidence == "the alias was not set");
        assert!(asked.join().unwrap()[2].starts_with("POST "));
    }
}
