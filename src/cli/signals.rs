//! Ctrl-C and SIGTERM: the first ends the run in order, the second at once. Ctrl-Z does nothing.

use signal_hook::consts::{SIGINT, SIGTERM, SIGTSTP};
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
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGTSTP])?;
    let wait = move || {
        let mut seen = 0;
        for signal in signals.forever() {
            // A run that sleeps would hold its faults for as long as it does, and its load would pile up.
            if signal == SIGTSTP {
                out::talk("\na run cannot be suspended (Ctrl-C ends it in order)\n");
                continue;
            }
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
