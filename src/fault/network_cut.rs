//! `network-partition` of a dependency that no link stands in front of: it is taken off its networks for the time.
//!
//! Open connections hang and new ones find nobody, as behind a partition. Put back with the same names, and the same
//! address where the network allows to choose one. Proven when the networks themselves show it as off, at half of the looks or more.

use std::sync::Arc;

use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use crate::platform::{Attachment, Cut};
use crate::units::Offset;

pub(super) struct NetworkCut {
    cut: Arc<dyn Cut>,
    attachments: Vec<Attachment>,
    on: bool,
    looks: u64,
    off: u64,
}

impl NetworkCut {
    pub(super) fn new(cut: Arc<dyn Cut>) -> NetworkCut {
        let attachments = cut.attachments();
        NetworkCut { cut, attachments, on: false, looks: 0, off: 0 }
    }

    fn look(&mut self) {
        let all = self.attachments.len();
        self.looks += 1;
        // A platform that does not answer proves nothing.
        self.off += u64::from(self.cut.off().is_ok_and(|off| off == all && all > 0));
    }

    fn names(&self) -> String {
        let told = self.attachments.iter().map(|a| format!("container {} off network {}", a.name, a.network));
        told.collect::<Vec<_>>().join(", ")
    }
}

impl Injector for NetworkCut {
    fn prepare(&mut self) -> Result<(), String> {
        if let Some(shared) = self.attachments.iter().find(|a| matches!(a.network.as_str(), "host" | "none")) {
            let (name, network) = (&shared.name, &shared.network);
            return Err(format!("container {name} is on network `{network}`, which nothing can be taken off"));
        }
        match self.cut.off()? {
            0 if !self.attachments.is_empty() => Ok(()),
            0 => Err("its containers are on no network".to_owned()),
            _ => Err(format!("not all of it is on its networks now: {}", self.names())),
        }
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        self.attachments.iter().map(|a| Undo::Reconnect { attachment: a.clone() }).collect()
    }

    fn apply(&mut self, _targets: &[TargetRef]) -> Result<Offset, String> {
        self.on = true;
        self.cut.cut()
    }

    fn revert(&mut self) -> Result<(), String> {
        if self.on {
            self.look();
            self.cut.mend()?;
            self.on = false;
        }
        Ok(())
    }

    fn observe(&mut self, _probe: &dyn Fn(&str) -> bool) -> bool {
        // The first look comes before it is applied.
        if self.on {
            self.look();
        }
        true
    }

    fn residue(&self) -> Vec<String> {
        match self.cut.off() {
            Ok(0) => Vec::new(),
            Ok(n) => {
                vec![format!("{n} of {} connections to networks are missing: {}", self.attachments.len(), self.names())]
            }
            Err(e) => vec![format!("it is not known whether all is connected again: {e}")],
        }
    }

    fn proof(&self) -> Proof {
        let evidence = format!("{} in {} of {} looks", self.names(), self.off, self.looks);
        let proven = self.off > 0 && self.off * 2 >= self.looks;
        let level = if proven { ProofLevel::Effect } else { ProofLevel::None };
        Proof { level, touched: if proven { self.attachments.len() as u64 } else { 0 }, evidence }
    }

    fn mechanism(&self) -> String {
        "docker network disconnect of the dependency, connect after the time".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Off is what was cut, unless the tool says yes and does nothing.
    struct Fake {
        off: Mutex<bool>,
        lies: bool,
    }

    impl Cut for Fake {
        fn attachments(&self) -> Vec<Attachment> {
            let word = |w: &str| w.to_owned();
            let (host, id, name) = (word("unix:///x"), word("c1"), word("db"));
            let (network, network_id, ipv4) = (word("shop"), word("n1"), word("172.18.0.2"));
            vec![Attachment { host, id, name, network, network_id, aliases: vec![word("db")], links: Vec::new(), ipv4 }]
        }
        fn cut(&self) -> Result<Offset, String> {
            *self.off.lock().unwrap() = !self.lies;
            Ok(Offset(7))
        }
        fn mend(&self) -> Result<(), String> {
            *self.off.lock().unwrap() = false;
            Ok(())
        }
        fn off(&self) -> Result<usize, String> {
            Ok(usize::from(*self.off.lock().unwrap()))
        }
    }

    fn play(lies: bool) -> Proof {
        let mut fault = NetworkCut::new(Arc::new(Fake { off: Mutex::new(false), lies }));
        fault.prepare().unwrap();
        assert!(matches!(&fault.undo(&[])[..], [Undo::Reconnect { attachment }] if attachment.aliases == ["db"]));
        fault.observe(&|_| true);
        assert_eq!(fault.apply(&[]), Ok(Offset(7)));
        fault.observe(&|_| true);
        assert_eq!(fault.residue().is_empty(), lies);
        fault.revert().unwrap();
        fault.revert().unwrap();
        assert!(fault.residue().is_empty());
        fault.proof()
    }

    #[test]
    fn proven_by_the_networks_alone() {
        let proof = play(false);
        assert!(proof.proven() && proof.evidence == "container db off network shop in 2 of 2 looks", "{proof:?}");
        assert!(!play(true).proven(), "a tool that says yes and does nothing");
    }
}
