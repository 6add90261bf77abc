//! `doctor --self`: what rate this program itself can pace here.

use crate::cli::out;
use crate::report::format::count;
use crate::run::own_limit::{Trial, own_limit};
use crate::units::show_measured as show;

/// What this machine can pace, against a target of its own.
pub(super) fn measure() -> u8 {
    let dir = std::env::temp_dir().join(format!("resbench-doctor-{}", std::process::id()));
    let found = std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display())).and_then(|()| {
        let tell = |t: &Trial| out::talk(&format!("{}\n", words(t)));
        own_limit(&dir, tell)
    });
    // Nothing of it is needed any more; the system clears what cannot be removed.
    let _ = std::fs::remove_dir_all(&dir);
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            out::error(&why);
            return 5;
        }
    };
    let threads =
        if found.workers == 1 { "1 load thread".to_owned() } else { format!("{} load threads", found.workers) };
    let text = match (&found.best, &found.worst) {
        (None, _) => "This machine is too busy now to pace even 1,000/s. Try again when it is quiet.".to_owned(),
        (Some(best), None) => format!("resbench paces at least {}/s here, with {threads}.", count(best.rate.into())),
        (Some(best), Some(worst)) => format!(
            "resbench paces {}/s here, with {threads}: lag p50 {}, p99 {}, {} of CPU per request. At {}/s {}.",
            count(best.rate.into()),
            show(best.lag_p50),
            show(best.lag_p99),
            show(best.cpu_per_request),
            count(worst.rate.into()),
            if worst.target_gave_way {
                "its own target gave way first: the limit may be higher"
            } else {
                "it falls behind"
            }
        ),
    };
    out::result(&format!("{text}\n"));
    0
}

fn words(t: &Trial) -> String {
    let verdict = match (t.carried, t.target_gave_way) {
        (true, _) => "carried",
        (false, true) => "the target gave way",
        (false, false) => "fell behind",
    };
    format!("{:>9}/s  {verdict:<20} lag p50 {}, p99 {}", count(t.rate.into()), show(t.lag_p50), show(t.lag_p99))
}
