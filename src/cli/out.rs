//! Where words go: results to stdout, talk to stderr, quiet when nobody listens.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// A result did not get out whole, though somebody listens.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints a result. A closed pipe is quiet success; anything else (a full disk) is told, and [`whole`] says no then.
pub(super) fn result(text: &str) {
    // `anstream` drops colours where they are not wanted; nothing is to be done about a reader that has gone.
    let mut stdout = anstream::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    drop(stdout);
    if let Err(e) = written
        && e.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        error(&format!("stdout: {e}"));
    }
}

/// Every result was written.
pub(super) fn whole() -> bool {
    !LOST.load(Ordering::Relaxed)
}

/// Prints talk: progress, warnings, errors.
pub(super) fn talk(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Prints an error, its first line marked.
pub(super) fn error(text: &str) {
    talk(&format!("resbench: {}\n", safe(text)));
}

/// Words that may hold what a target or a command said: its lines stay, whatever would drive the terminal goes.
pub(super) fn safe(text: &str) -> String {
    text.lines().map(crate::report::format::clean).collect::<Vec<_>>().join("\n")
}

/// Colour is wanted on stdout (`NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and pipes respected).
pub(super) fn stdout_has_color() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// Colour is wanted on stderr.
pub(super) fn stderr_has_color() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// A person watches stderr.
pub(super) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// A person can answer on stdin.
pub(super) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Columns of stdout; 100 where there is no terminal.
pub(super) fn stdout_width() -> usize {
    width(rustix::stdio::stdout())
}

/// Columns of stderr; 100 where there is no terminal.
pub(super) fn stderr_width() -> usize {
    width(rustix::stdio::stderr())
}

fn width(fd: rustix::fd::BorrowedFd<'_>) -> usize {
    rustix::termios::tcgetwinsize(fd).ok().map(|w| usize::from(w.ws_col)).filter(|w| *w > 0).unwrap_or(100)
}

/// Asks a yes-or-no question; only a typed `yes` is one.
pub(super) fn ask(question: &str) -> bool {
    talk(&format!("{} Type yes to go on: ", safe(question)));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).is_ok() && answer.trim() == "yes"
}
