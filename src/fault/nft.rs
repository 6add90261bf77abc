//! Tables of the packet filter nftables, by the program `nft`: made, read, deleted.
//!
//! Every table of ours is in the family `inet` and named `resbench_<run>_<fault>`. Owns what is said to `nft`; leaves
//! alone which packets are meant (`network_loss.rs`). Nothing of anybody else is read or changed.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::exec;

/// How long one call may take; it takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where Debian has it; users' PATHs often leave these out.
const PLACES: [&str; 2] = ["/usr/sbin/nft", "/sbin/nft"];

/// Packets can be dropped here, by chance and counted.
///
/// # Errors
/// Why not, and how to get it.
pub fn available() -> Result<(), String> {
    let table = format!("resbench_doctor_{}", std::process::id());
    let rules = [
        format!("add table inet {table}"),
        format!("add counter inet {table} dropped"),
        format!("add chain inet {table} loss {{ type filter hook input priority -10; policy accept; }}"),
        format!("add rule inet {table} loss tcp dport 1 numgen random mod 100000 < 1 counter name dropped drop"),
    ];
    try_out(&rules.join("\n"), &table)
}

/// The name of the table of one fault. No run has a `_` in its id, no fault in its name: none meets another.
pub(super) fn table_of(run: &str, fault: &str) -> String {
    format!("resbench_{}_{}", run.replace('-', "_"), fault.replace('-', "_"))
}

/// Has the kernel take these rules and drop them again in one transaction: nothing is ever in force.
pub(super) fn try_out(rules: &str, table: &str) -> Result<(), String> {
    call(&[&format!("{rules}\ndelete table inet {table}")]).map(drop).map_err(|why| with_cure(&why))
}

/// All of these rules or none.
pub(super) fn add(rules: &str) -> Result<(), String> {
    call(&[rules]).map(drop).map_err(|why| with_cure(&why))
}

/// Packets of each named counter of a table.
pub(super) fn counters(table: &str) -> Result<Vec<(String, u64)>, String> {
    packets(&call(&["-j", "list", "counters", "table", "inet", table])?)
}

/// The table stands, looked at freshly.
pub(super) fn is_there(table: &str) -> Result<bool, String> {
    let listed = call(&["-j", "list", "tables", "inet"])?;
    Ok(objects(&listed)?.iter().any(|o| o["table"]["name"] == table))
}

/// Deletes a table; false when it was not there.
///
/// # Errors
/// When it is still there, and how a person deletes it.
pub(super) fn delete(table: &str) -> Result<bool, String> {
    match call(&["delete", "table", "inet", table]) {
        Ok(_) => Ok(true),
        // Whether it is gone already is asked, not read from a message in somebody's language.
        Err(why) => match is_there(table) {
            Ok(false) => Ok(false),
            _ => Err(format!("{why}; by hand, as root: nft delete table inet {table}")),
        },
    }
}

fn call(args: &[&str]) -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).map(|dir| dir.join("nft")).chain(PLACES.map(PathBuf::from));
    let program = places.into_iter().find(|place| place.is_file()).ok_or("the program `nft` is not here")?;
    let program = program.to_string_lossy();
    let args: Vec<String> = std::iter::once(&*program).chain(args.iter().copied()).map(str::to_owned).collect();
    // It shows the place in the rules on further lines, which nobody but us has written.
    exec::answer(&args, TIMEOUT).map_err(|why| format!("nft {}", why.lines().next().unwrap_or_default()))
}

/// Why the kernel did not take a rule, and what a person can do.
fn with_cure(why: &str) -> String {
    let cure = if why.contains("is not here") {
        "install it: apt-get install nftables"
    } else if why.contains("not permitted") || why.contains("ermission denied") {
        "it needs root (CAP_NET_ADMIN), or a network of its own: unshare -rn sh -c 'ip link set lo up; resbench …'"
    } else {
        "it needs a kernel with nf_tables: modprobe -a nf_tables nft_numgen nft_counter"
    };
    format!(
        "real packet loss is made by nftables, which does not work here, and nothing else imitates it: {why}; {cure}"
    )
}

fn packets(listed: &str) -> Result<Vec<(String, u64)>, String> {
    let counter = |o: &Value| Some((o["counter"]["name"].as_str()?.to_owned(), o["counter"]["packets"].as_u64()?));
    Ok(objects(listed)?.iter().filter_map(counter).collect())
}

fn objects(listed: &str) -> Result<Vec<Value>, String> {
    let json: Value = serde_json::from_str(listed).map_err(|e| format!("nft said no JSON: {e}"))?;
    json["nftables"].as_array().cloned().ok_or_else(|| "nft said nothing of nftables".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_and_apart() {
        let name = table_of("20261122T231430Z-abcdef", "loss-1");
        assert_eq!(name, "resbench_20261122T231430Z_abcdef_loss_1");
        assert_ne!(table_of("r1", "a"), table_of("r1", "b"));
    }

    #[test]
    fn counters_are_read_by_name() {
        let said = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"counter": {"family": "inet", "name": "seen", "table": "t", "handle": 1, "packets": 1240, "bytes": 9}},
            {"counter": {"family": "inet", "name": "dropped", "table": "t", "handle": 2, "packets": 57, "bytes": 9}}]}"#;
        assert_eq!(packets(said), Ok(vec![("seen".to_owned(), 1240), ("dropped".to_owned(), 57)]));
        assert!(packets("Error: no").is_err() && packets("{}").is_err());
    }

    #[test]
    fn each_refusal_has_its_cure() {
        for (why, cure) in [
            ("the program `nft` is not here", "apt-get install nftables"),
            ("nft ended with exit status: 1; it said: Operation not permitted (you must be root)", "CAP_NET_ADMIN"),
            ("nft ended with exit status: 1; it said: Operation not supported", "modprobe"),
        ] {
            let told = with_cure(why);
            assert!(told.contains(why) && told.contains(cure) && told.contains("nothing else imitates it"), "{told}");
        }
    }

    /// On the real kernel, where it lets us.
    #[test]
    fn a_table_is_made_read_and_deleted_once() {
        if let Err(why) = available() {
            println!("SKIPPED: tables of nftables: {why}");
            return;
        }
        let table = format!("resbench_test_{}", std::process::id());
        assert_eq!((is_there(&table), delete(&table)), (Ok(false), Ok(false)), "what is gone is success");
        let rules = format!("add table inet {table}\nadd counter inet {table} seen");
        try_out(&rules, &table).unwrap();
        assert_eq!(is_there(&table), Ok(false), "trying leaves nothing");
        add(&rules).unwrap();
        assert_eq!(counters(&table), Ok(vec![("seen".to_owned(), 0)]));
        assert_eq!((is_there(&table), delete(&table), delete(&table)), (Ok(true), Ok(true), Ok(false)));
    }
}
