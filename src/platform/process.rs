//! Processes as something that cannot be mistaken: boot id + pid + start time, signalled through a
//! pidfd, so that a pid used again by somebody else is never hit.

use serde::{Deserialize, Serialize};

/// One process of one boot of this machine; by our convention the leader of its own process group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Its pid.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub start_time: u64,
}
