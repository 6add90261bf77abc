//! Ctrl-C and SIGTERM: the first ends the run in order, the second at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::out;
use crate::fault::stop::StopSignal;

/// What the shell sees of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Listens from now on.
///
/// # Errors
/// When the handlers cannot be installed.
pub(super) fn listen(stop: StopSignal) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        let mut seen = 0;
        for _ in signals.forever() {
            seen += 1;
            if seen == 1 {
                out::talk("\nstopping: load ends, faults are undone, the report is written (once more: at once)\n");
                stop.stop();
            } else {
                out::talk(
                    "\nstopped at once: the watchdog undoes what is left; `resbench revert` shows whether anything is\n",
                );
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
