//! Changes to an object that others change too: made on the condition that nobody did meanwhile, and followed up when the
//! answer does not come.
//!
//! Each carries the `resourceVersion` that was seen, so that one which lands late is refused once anything else was written.
//! Leaves alone what is changed, and why (`restore.rs`, `rollout.rs`).

use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{Cluster, version_of};
use crate::clock;

/// What outdates a change that may be on its way: the version that was seen then, for as long as that takes.
const SEEN: &str = "resbench.io/seen";
/// Before a change that met another one is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Changes that are tried: controllers write to the same object.
const TRIES: usize = 10;

/// What is known of a change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered, or none was asked for: nothing of it is on its way.
    Known,
    /// Its answer did not come, or nobody knows of it: it may have landed, and may land later.
    Unknown,
}

/// Why something was not changed, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) why: String,
    pub(super) outcome: Outcome,
}

/// Reads, decides, and writes on the condition that nobody else wrote in between. True when something was written; an
/// object that is not there is left so.
pub(super) fn change(
    cluster: &Cluster,
    path: &str,
    mut decide: impl FnMut(&Value) -> Result<Option<Value>, String>,
) -> Result<bool, Trouble> {
    let known = |why: String| Trouble { why, outcome: Outcome::Known };
    let mut tries = 0;
    loop {
        let object = match cluster.get(path) {
            Ok(object) => object,
            Err(e) if e.not_found() => return Ok(false),
            Err(e) => return Err(known(e.to_string())),
        };
        let Some(mut patch) = decide(&object).map_err(known)? else { return Ok(false) };
        patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        match cluster.patch_merge(path, &patch) {
            Ok(_) => return Ok(true),
            Err(e) if e.code == 409 && tries < TRIES => tries += 1,
            Err(e) if e.may_have_worked() => return Err(Trouble { why: e.to_string(), outcome: Outcome::Unknown }),
            Err(e) => return Err(known(e.to_string())),
        }
        clock::sleep(AGAIN);
    }
}

/// Ends the wait for a change of unknown outcome: unless it has landed already, which `landed` sees on the object, a
/// harmless write outdates it. True when it never will land; false when it has, or the object is gone.
///
/// # Errors
/// When it is not known still.
pub(super) fn settle(cluster: &Cluster, path: &str, landed: impl Fn(&Value) -> bool) -> Result<bool, String> {
    // A write that changes nothing is no write: the version differs from whatever stood there.
    let outdate = |object: &Value| json!({"metadata": {"annotations": {SEEN: version_of(object)}}});
    let never = change(cluster, path, |object| Ok((!landed(object)).then(|| outdate(object))));
    let never = never.map_err(|trouble| trouble.why)?;
    if never {
        // It means nothing to anybody, so nothing is lost where it cannot be taken away again.
        let _ = cluster.patch_merge(path, &json!({"metadata": {"annotations": {SEEN: null}}}));
    }
    Ok(never)
}

#[cfg(test)]
mod tests {
    use super::super::cluster::tests_support::{LOST, scripted};
    use super::*;

    fn object(version: &str, value: u64) -> (u16, Value) {
        (200, json!({"metadata": {"resourceVersion": version}, "spec": {"x": value}}))
    }

    fn two(object: &Value) -> Result<Option<Value>, String> {
        Ok((object["spec"]["x"] != 2).then(|| json!({"spec": {"x": 2}})))
    }

    fn is_two(object: &Value) -> bool {
        object["spec"]["x"] == 2
    }

    #[test]
    fn a_change_holds_for_the_version_that_was_seen() {
        let (cluster, asked) = scripted(vec![object("7", 1), (409, json!({})), object("8", 1), (200, json!({}))]);
        assert_eq!(change(&cluster, "/x", two), Ok(true));
        let asked = asked.lock().unwrap();
        assert!(
            asked[1].contains(r#""resourceVersion":"7""#) && asked[3].contains(r#""resourceVersion":"8""#),
            "{asked:?}"
        );
    }

    #[test]
    fn what_is_not_answered_is_not_known() {
        let outcome = |status: u16| {
            let (cluster, _) = scripted(vec![object("7", 1), (status, json!({}))]);
            change(&cluster, "/x", two).unwrap_err().outcome
        };
        assert_eq!([LOST, 504, 500].map(outcome), [Outcome::Unknown; 3]);
        assert_eq!([403, 422].map(outcome), [Outcome::Known; 2]);
        let (cluster, _) = scripted(vec![(500, json!({}))]);
        assert_eq!(change(&cluster, "/x", two).unwrap_err().outcome, Outcome::Known, "nothing was asked for");
    }

    #[test]
    fn a_late_change_is_outdated_or_seen() {
        let (cluster, asked) = scripted(vec![object("7", 1), (200, json!({})), (200, json!({}))]);
        assert_eq!(settle(&cluster, "/x", is_two), Ok(true));
        let asked = asked.lock().unwrap();
        let seen = |n: usize, value: &str| asked[n].contains(&format!(r#""resbench.io/seen":{value}"#));
        assert!(seen(1, r#""7""#) && asked[1].contains(r#""resourceVersion":"7""#) && seen(2, "null"), "{asked:?}");

        let (cluster, asked) = scripted(vec![object("7", 1), (409, json!({})), object("8", 2)]);
        assert_eq!(settle(&cluster, "/x", is_two), Ok(false), "it landed between the look and the write");
        assert_eq!(asked.lock().unwrap().len(), 3);

        let (cluster, _) = scripted(vec![object("7", 1), (LOST, json!({}))]);
        assert!(settle(&cluster, "/x", is_two).is_err(), "the write that outdates it is not answered either");
    }
}
