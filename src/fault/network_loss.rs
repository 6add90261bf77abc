//! `network-loss`: the kernel drops a random share of the packets to and from the targets' own ports.
//!
//! The packets are those between the link and the replica (or the dependency): TCP sends them again, which takes its
//! time. A byte stream cannot lose packets, so nothing but a packet filter does this: nftables, in a table of the
//! fault's own. Dropped where they come in, since a sender is told of what is dropped as it leaves. Readiness
//! polls go the same way and suffer too, as a kubelet's would. Proven by the filter's own count of dropped packets.

use std::net::SocketAddr;
use std::sync::Arc;

use super::InjectorContext;
use super::injector::{Injector, Proof, ProofLevel, TargetRef, Undo};
use super::io::thousands;
use super::link_fault::dependency;
use super::nft;
use crate::clock::Clock;
use crate::plan::{FaultPlan, FaultTarget};
use crate::platform::Replicas;
use crate::units::{Offset, Ratio};

/// Chances are drawn in these parts.
const PARTS: u32 = 100_000;

pub(super) struct NetworkLoss {
    replicas: Arc<dyn Replicas>,
    clock: Clock,
    target: FaultTarget,
    share: Ratio,
    table: String,
    /// What was hit, in words; empty before.
    hit: String,
    /// Made, or half made, and not deleted.
    on: bool,
    counted: Option<Result<Counted, String>>,
}

/// Packets that met the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    seen: u64,
    dropped: u64,
}

impl NetworkLoss {
    pub(super) fn new(fault: &FaultPlan, share: Ratio, cx: &InjectorContext) -> Result<NetworkLoss, String> {
        Ok(NetworkLoss {
            replicas: cx.replicas()?,
            clock: cx.clock,
            target: fault.target.clone(),
            share,
            table: nft::table_of(&cx.run, &fault.name),
            hit: String::new(),
            on: false,
            counted: None,
        })
    }

    fn address(&self, target: &TargetRef) -> Result<SocketAddr, String> {
        let address = match target {
            TargetRef::Replica { index, .. } => self.replicas.replica_address(*index),
            TargetRef::Dependency(name) => self.replicas.dependency_address(name),
            TargetRef::Proxy(_) | TargetRef::Selected(_) | TargetRef::Alias(_) => None,
            TargetRef::Outside | TargetRef::Requests => None,
        };
        address.ok_or_else(|| format!("{target} has no port on this machine whose packets could be dropped"))
    }

    fn rules(&self, targets: &[TargetRef]) -> Result<String, String> {
        let addresses: Vec<SocketAddr> = targets.iter().map(|t| self.address(t)).collect::<Result<_, _>>()?;
        Ok(rules(&self.table, &addresses, self.share))
    }

    /// Everything that it might hit.
    fn candidates(&self) -> Vec<TargetRef> {
        match dependency(&self.target) {
            Some(name) => vec![TargetRef::Dependency(name)],
            None => {
                let all = self.replicas.list().into_iter();
                all.map(|r| TargetRef::Replica { index: r.index, instance: None }).collect()
            }
        }
    }
}

/// The table, in nft's own language.
fn rules(table: &str, addresses: &[SocketAddr], share: Ratio) -> String {
    let below = ((share.get() * f64::from(PARTS)).round() as u32).clamp(1, PARTS);
    let mut lines = vec![
        format!("add table inet {table}"),
        format!("add counter inet {table} seen"),
        format!("add counter inet {table} dropped"),
        format!("add chain inet {table} loss {{ type filter hook input priority -10; policy accept; }}"),
    ];
    for address in addresses {
        let (family, ip, port) = (if address.is_ipv4() { "ip" } else { "ip6" }, address.ip(), address.port());
        for (side, way) in [("daddr", "dport"), ("saddr", "sport")] {
            let packet = format!("add rule inet {table} loss iifname lo {family} {side} {ip} tcp {way} {port}");
            let drawn = if below == PARTS { String::new() } else { format!(" numgen random mod {PARTS} < {below}") };
            lines.push(format!("{packet} counter name seen"));
            lines.push(format!("{packet}{drawn} counter name dropped drop"));
        }
    }
    lines.join("\n")
}

fn judge(counted: Counted, hit: &str) -> Proof {
    let Counted { seen, dropped } = counted;
    match (seen, dropped) {
        (0, _) => Proof::none(format!("no packet to or from {hit} came by")),
        (_, 0) => Proof::none(format!("none of {} packets to and from {hit} was dropped", thousands(seen))),
        _ => {
            let percent = dropped as f64 / seen as f64 * 100.0;
            let (dropped_text, seen) = (thousands(dropped), thousands(seen));
            let evidence = format!("{dropped_text} of {seen} packets to and from {hit} dropped ({percent:.1} %)");
            Proof { level: ProofLevel::Effect, touched: dropped, evidence }
        }
    }
}

impl Injector for NetworkLoss {
    fn prepare(&mut self) -> Result<(), String> {
        nft::try_out(&self.rules(&self.candidates())?, &self.table)
    }

    fn undo(&self, _targets: &[TargetRef]) -> Vec<Undo> {
        vec![Undo::NftTable { name: self.table.clone() }]
    }

    fn apply(&mut self, targets: &[TargetRef]) -> Result<Offset, String> {
        let rules = self.rules(targets)?;
        self.hit = targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.on = true;
        nft::add(&rules)?;
        Ok(self.clock.now())
    }

    fn revert(&mut self) -> Result<(), String> {
        if !self.on {
            return Ok(());
        }
        // Read now: the counters go with the table.
        let read = nft::counters(&self.table).map(|all| {
            let of = |name: &str| all.iter().find(|(n, _)| n == name).map_or(0, |(_, packets)| *packets);
            Counted { seen: of("seen"), dropped: of("dropped") }
        });
        if !matches!(self.counted, Some(Ok(_))) {
            self.counted = Some(read);
        }
        nft::delete(&self.table)?;
        self.on = false;
        Ok(())
    }

    fn residue(&self) -> Vec<String> {
        let by_hand = format!("nft delete table inet {}", self.table);
        match nft::is_there(&self.table) {
            Ok(false) => Vec::new(),
            Ok(true) => vec![format!("packets of {} are still dropped; as root: {by_hand}", self.hit)],
            Err(why) => vec![format!("it is not known whether packets are still dropped ({why}); as root: {by_hand}")],
        }
    }

    fn proof(&self) -> Proof {
        match &self.counted {
            None => Proof::none("not applied"),
            Some(Err(why)) => Proof::none(format!("the counters of dropped packets could not be read: {why}")),
            Some(Ok(counted)) => judge(*counted, &self.hit),
        }
    }

    fn mechanism(&self) -> String {
        format!("nftables table {} drops packets as they come in on loopback", self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_the_targets_and_nothing_else() {
        let addresses = ["127.9.8.7:4001".parse().unwrap(), "[::1]:4002".parse().unwrap()];
        let text = rules("t", &addresses, Ratio::new(0.005).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4 + 2 * 4, "{text}");
        assert_eq!(lines[4], "add rule inet t loss iifname lo ip daddr 127.9.8.7 tcp dport 4001 counter name seen");
        assert_eq!(
            lines[7],
            "add rule inet t loss iifname lo ip saddr 127.9.8.7 tcp sport 4001 numgen random mod 100000 < 500 counter name \
             dropped drop"
        );
        assert!(lines[8].contains("ip6 daddr ::1 tcp dport 4002"), "{text}");
        assert!(!rules("t", &addresses, Ratio::new(1.0).unwrap()).contains("numgen"), "all of them");
        assert!(rules("t", &addresses, Ratio::new(1e-9).unwrap()).contains("< 1 "), "never none");
    }

    #[test]
    fn only_dropped_packets_prove_it() {
        let told = |seen, dropped| judge(Counted { seen, dropped }, "replica 1");
        assert_eq!(told(0, 0).evidence, "no packet to or from replica 1 came by");
        assert!(!told(0, 0).proven() && !told(9, 0).proven());
        let proof = told(1240, 57);
        assert!(proof.proven(), "{proof:?}");
        assert_eq!(proof.evidence, "57 of 1,240 packets to and from replica 1 dropped (4.6 %)");
    }
}
