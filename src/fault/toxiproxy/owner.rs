//! Which process of this machine a server is, where that can be shown.
//!
//! Toxics end with their server. But an address of this machine may be a forwarder's too (`kubectl port-forward`, `ssh -L`):
//! when that goes, the server stands elsewhere, with its toxics on. So only a process counts that is a Toxiproxy and listens
//! itself, whoever started it. Leaves alone what follows from its end.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::Read;

use crate::platform::process::ProcessId;

/// How the kernel's tables write the state of a socket that listens.
const LISTENS: &str = "0A";

/// A larger program is not looked into; Toxiproxy has some 15 MB.
const PROGRAM_MAX: u64 = 40 << 20;

/// The Toxiproxy that listens on this port of this machine. None when it is another program, or cannot be told: when several
/// listen there, on whichever addresses, or one whose files we may not see.
pub(super) fn of(port: u16) -> Option<ProcessId> {
    let sockets = listeners(port);
    let holders = pids().into_iter().map(|pid| (pid, held_by(pid, &sockets)));
    let holders: Vec<(i32, BTreeSet<u64>)> = holders.filter(|(_, held)| !held.is_empty()).collect();
    let [(pid, held)] = holders.as_slice() else { return None };
    // Identified before its name is read: should the number be somebody else's by then, the process is not alive.
    let process = ProcessId::of(*pid)?;
    (*held == sockets && is_toxiproxy(*pid) && process.is_alive()).then_some(process)
}

/// Sockets that listen on this port, by inode.
fn listeners(port: u16) -> BTreeSet<u64> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(|line| listener(line, port)).collect()
}

/// One line of proc_pid_net(5): number, own address, other address, state … and the inode as the tenth.
fn listener(line: &str, port: u16) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, own_port) = fields.get(1)?.rsplit_once(':')?;
    if *fields.get(3)? != LISTENS || u16::from_str_radix(own_port, 16) != Ok(port) {
        return None;
    }
    fields.get(9)?.parse().ok()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Which of these sockets a process has open, as far as we may see it.
fn held_by(pid: i32, sockets: &BTreeSet<u64>) -> BTreeSet<u64> {
    let inode = |file: DirEntry| {
        let link = fs::read_link(file.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(inode).filter(|inode| sockets.contains(inode)).collect()
}

fn is_toxiproxy(pid: i32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let file = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    [file, name].iter().any(|name| name.starts_with("toxiproxy")) || is_built_from_it(pid)
}

/// `go install` calls the server `server`. Every Go program says which package it is made of.
fn is_built_from_it(pid: i32) -> bool {
    let Ok(mut program) = File::open(format!("/proc/{pid}/exe")) else { return false };
    let mut bytes = Vec::new();
    let is_small = program.metadata().is_ok_and(|meta| meta.len() <= PROGRAM_MAX);
    is_small && program.read_to_end(&mut bytes).is_ok() && says_its_package(&bytes)
}

fn says_its_package(program: &[u8]) -> bool {
    // Joined here, so that it stands in no program of ours: our links listen too. With `path`, it is what the program is
    // made of, not what it uses.
    let package = ["path", "github.com/Shopify/toxiproxy/"].join("\t").into_bytes();
    program.windows(package.len()).any(|window| window == package)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::process::{Child, Command, Stdio};

    const LISTEN: &str = "RESBENCH_TEST_LISTEN";

    /// This test program under another name, and the port that it listens on.
    fn listening(name: &str) -> (Child, u16) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join(name);
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &program).unwrap();
        let mut command = Command::new(&program);
        command.args(["fault::toxiproxy::owner::tests::role_listener", "--exact", "--ignored", "--nocapture"]);
        let mut child = command.env(LISTEN, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = said.find_map(|line| line.strip_prefix("port ")?.parse().ok()).unwrap();
        (child, port)
    }

    #[test]
    #[ignore = "a role in the test below"]
    fn role_listener() {
        if std::env::var_os(LISTEN).is_some() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            println!("\nport {}", listener.local_addr().unwrap().port());
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
        }
    }

    #[test]
    fn only_a_toxiproxy_that_listens_itself_counts() {
        let (mut server, port) = listening("toxiproxy-server");
        let process = of(port).expect("it listens, and is called so");
        assert_eq!(process.pid, server.id() as i32);
        let (mut forwarder, other) = listening("kubectl");
        assert_eq!(of(other), None, "what is behind it is not known");
        // Whom of two a connection reaches is not asked.
        let second = TcpListener::bind(("127.0.0.2", port)).unwrap();
        assert_eq!(of(port), None);
        drop(second);
        for child in [&mut server, &mut forwarder] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(!process.is_alive());
        assert_eq!(of(port), None);
    }

    #[test]
    fn the_kernel_s_table_and_a_program_s_own_word() {
        let line = "   1: 0100007F:211A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13568 1 0 100 0 0 10 0";
        assert_eq!((listener(line, 8474), listener(line, 8475)), (Some(13_568), None));
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(listener(&connected, 8474), None);
        let six = line.replace("0100007F:", "00000000000000000000000000000000:");
        assert_eq!(listener(&six, 8474), Some(13_568));
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue", 8474), None);
        let go = |key: &str| format!("\0{key}\tgithub.com/Shopify/toxiproxy/v2/cmd/server\nmod\t").into_bytes();
        assert!(says_its_package(&go("path")) && !says_its_package(&go("dep")), "a program that only uses it is none");
    }
}
