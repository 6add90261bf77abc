//! Taking a dependency off its networks: a partition where no link stands in between.
//!
//! Who was connected how is known before anything is cut, and goes into the journal. Whether it is off is asked of the
//! networks, not of the container: they are what others would reach it by.

use std::sync::Arc;

use super::super::{Attachment, Cut};
use super::api::{Acted, Api};
use super::seats::Seats;
use crate::clock::monotonic_nanos;
use crate::units::Offset;

/// The networks of one dependency's containers.
pub(super) struct Networks {
    api: Arc<Api>,
    /// For its clock.
    seats: Arc<Seats>,
    attachments: Vec<Attachment>,
}

impl Networks {
    pub(super) fn new(api: Arc<Api>, seats: Arc<Seats>, attachments: Vec<Attachment>) -> Networks {
        Networks { api, seats, attachments }
    }
}

impl Cut for Networks {
    fn attachments(&self) -> Vec<Attachment> {
        self.attachments.clone()
    }

    fn cut(&self) -> Result<Offset, String> {
        let mut first = None;
        for a in &self.attachments {
            let acted = self.api.disconnect(&a.network_id, &a.id);
            match acted.map_err(|e| format!("taking container {} off network {}: {e}", a.name, a.network))? {
                Acted::Gone => return Err(format!("container {} was removed", a.name)),
                Acted::Now | Acted::Already => {}
            }
            first.get_or_insert(monotonic_nanos());
        }
        let at = first.ok_or_else(|| "its containers are on no network".to_owned())?;
        Ok(self.seats.offset(at))
    }

    fn mend(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        for a in &self.attachments {
            if let Err(e) = self.api.reconnect(a) {
                let by_hand = format!("docker -H {} network connect {} {}", a.host, a.network, a.name);
                problems.push(format!("container {} is off network {}: {e}; by hand: {by_hand}", a.name, a.network));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    fn off(&self) -> Result<usize, String> {
        let mut off = 0;
        for a in &self.attachments {
            off += usize::from(!self.api.members(&a.network_id)?.contains(&a.id));
        }
        Ok(off)
    }
}
