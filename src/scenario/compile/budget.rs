//! `[budget]`: what faults are priced in.

use std::time::Duration;

use super::Context;
use crate::plan::Budget;
use crate::scenario::tree::Path;
use crate::scenario::{file, limits};

/// The shortest and longest time that a promise is kept over: below a day a single fault would be most of it, and no promise is
/// kept over more than a few years.
const WINDOW: (Duration, Duration) = (Duration::from_secs(86_400), Duration::from_secs(1000 * 86_400));

/// The budget; none when it is broken.
pub(super) fn compile(cx: &mut Context) -> Option<Budget> {
    let at = Path::root().key("budget");
    if cx.root.get("budget").is_none() {
        return Some(Budget::default());
    }
    let b: file::Budget = cx.section(&at)?;
    let window = match b.window {
        None => Budget::default().window,
        Some(window) => cx.within(&at.key("window"), window.0, WINDOW.0, WINDOW.1)?,
    };
    if b.target.is_some_and(|t| t >= 1.0) {
        let help = "write the share that is promised, for example 0.999; without `target` the objectives say it";
        cx.wrong(&at.key("target"), "a promise of 100 % leaves no budget to spend", help);
        return None;
    }
    let within = match (b.within, b.target) {
        (None, _) => None,
        (Some(_), None) => {
            let help = "add the share that is to be good, for example target = 0.99; without it, write an objective on good_ratio";
            cx.clash(&at, "within", "`within` needs `target`", help);
            return None;
        }
        (Some(within), Some(_)) => Some(cx.above_zero(&at.key("within"), within.0, limits::LATENCY)?),
    };
    Some(Budget { window, target: b.target, within })
}
