//! What pods show of a fault: gone, not ready, containers started anew. Seen by a watch of ours, not told by the tool.
//!
//! Pure but for the lock: events in, evidence out. Owns the book of pods as they were just before and what became of
//! them; leaves alone which of them the tool chose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::platform::kubernetes::cluster::WatchKind;
use crate::units::Offset;

/// Pods kept at most: a namespace with more is too crowded to be watched whole.
const PODS_MAX: usize = 10_000;

/// The pods around a fault; every copy is the same book.
#[derive(Clone, Default)]
pub(super) struct Book {
    pages: Arc<Mutex<BTreeMap<String, Pod>>>,
    /// Which of several watches writes by this copy.
    watch: usize,
}

/// One pod, by `namespace/name`: as it was before the fault, and what was seen since.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) was_ready: bool,
    pub(super) is_ready: bool,
    restarts: u64,
    /// By which watch it is followed: a list of another one need not have it.
    watch: usize,
    /// Deleted, on its way out, or replaced by another of its name.
    pub(super) gone: Option<Offset>,
    /// Not ready any more, since.
    pub(super) unready: Option<Offset>,
    /// A container of it was started again, since.
    pub(super) restarted: Option<Offset>,
}

impl Pod {
    fn before(pod: &Value, watch: usize) -> Pod {
        let is_ready = is_ready(pod);
        Pod {
            uid: uid(pod).to_owned(),
            was_ready: is_ready,
            is_ready,
            restarts: restarts(pod),
            watch,
            gone: None,
            unready: None,
            restarted: None,
        }
    }

    fn look(&mut self, kind: WatchKind, pod: &Value, now: Offset) {
        let another = uid(pod) != self.uid;
        if kind == WatchKind::Deleted || another || pod["metadata"]["deletionTimestamp"].is_string() {
            self.gone.get_or_insert(now);
        }
        self.is_ready = kind != WatchKind::Deleted && is_ready(pod);
        if another {
            return;
        }
        if self.was_ready && !self.is_ready {
            self.unready.get_or_insert(now);
        }
        if restarts(pod) > self.restarts {
            self.restarted.get_or_insert(now);
        }
    }
}

impl Book {
    /// The same book, in the hand of this watch.
    pub(super) fn of_watch(&self, watch: usize) -> Book {
        Book { watch, ..self.clone() }
    }

    /// Opens a page for each pod of a list, as it is now; what was known of it before is forgotten.
    pub(super) fn open(&self, list: &Value) {
        let mut book = self.lock();
        for pod in list["items"].as_array().into_iter().flatten().take(PODS_MAX) {
            book.insert(id(pod), Pod::before(pod, self.watch));
        }
    }

    /// Something came by on the watch.
    pub(super) fn note(&self, kind: WatchKind, object: &Value, now: Offset) {
        let mut book = self.lock();
        if kind == WatchKind::Listed {
            let items = object["items"].as_array().map_or(&[][..], Vec::as_slice);
            for (id, pod) in book.iter_mut().filter(|(_, pod)| pod.watch == self.watch) {
                match items.iter().find(|p| self::id(p) == *id) {
                    Some(now_is) => pod.look(WatchKind::Modified, now_is, now),
                    None => {
                        pod.gone.get_or_insert(now);
                        pod.is_ready = false;
                    }
                }
            }
            return;
        }
        if let Some(pod) = book.get_mut(&id(object)) {
            pod.look(kind, object, now);
        } else if book.len() < PODS_MAX {
            // A replacement: nothing was done to it, and it counts among those that serve.
            book.insert(id(object), Pod::before(object, self.watch));
        }
    }

    /// The page of a pod.
    pub(super) fn pod(&self, id: &str) -> Option<Pod> {
        self.lock().get(id).cloned()
    }

    /// How many are ready now.
    pub(super) fn serving(&self) -> usize {
        self.lock().values().filter(|p| p.is_ready).count()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pod>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `namespace/name`.
pub(super) fn id(pod: &Value) -> String {
    let meta = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    format!("{}/{}", meta("namespace"), meta("name"))
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap_or_default()
}

/// In rotation, as endpoints see it.
pub(super) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn restarts(pod: &Value) -> u64 {
    let containers = pod["status"]["containerStatuses"].as_array();
    containers.into_iter().flatten().filter_map(|c| c["restartCount"].as_u64()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, ready: bool, restarts: u64) -> Value {
        json!({
            "metadata": {"namespace": "n", "name": "a", "uid": uid},
            "status": {
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "containerStatuses": [{"restartCount": restarts}, {"restartCount": 0}],
            },
        })
    }

    fn at(ms: u64) -> Offset {
        Offset(ms * 1_000_000)
    }

    fn opened() -> Book {
        let book = Book::default();
        book.open(&json!({"items": [pod("1", true, 2)]}));
        book
    }

    #[test]
    fn a_pod_that_goes_or_is_replaced_is_gone() {
        let book = opened();
        assert_eq!((book.pod("n/a").unwrap().gone, book.serving()), (None, 1));
        let mut leaving = pod("1", true, 2);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        book.note(WatchKind::Modified, &leaving, at(5));
        book.note(WatchKind::Deleted, &leaving, at(9));
        let gone = book.pod("n/a").unwrap();
        assert_eq!((gone.gone, gone.unready, book.serving()), (Some(at(5)), Some(at(5)), 0));

        let book = opened();
        book.note(WatchKind::Added, &pod("2", true, 0), at(7));
        let replaced = book.pod("n/a").unwrap();
        assert_eq!((replaced.gone, replaced.restarted, book.serving()), (Some(at(7)), None, 1), "of the same name");
        book.of_watch(1).note(WatchKind::Listed, &json!({"items": []}), at(8));
        assert_eq!(book.serving(), 1, "the list of a watch that does not follow it");
        book.note(WatchKind::Listed, &json!({"items": []}), at(8));
        assert_eq!(book.serving(), 0);
    }

    #[test]
    fn readiness_and_restarts_count_from_what_was_before() {
        let book = opened();
        book.note(WatchKind::Modified, &pod("1", true, 2), at(1));
        assert_eq!(book.pod("n/a").unwrap().restarted, None);
        book.note(WatchKind::Modified, &pod("1", false, 3), at(2));
        book.note(WatchKind::Modified, &pod("1", true, 3), at(3));
        let seen = book.pod("n/a").unwrap();
        assert_eq!((seen.unready, seen.restarted, seen.is_ready), (Some(at(2)), Some(at(2)), true));

        let book = Book::default();
        book.open(&json!({"items": [pod("1", false, 0)]}));
        book.note(WatchKind::Modified, &pod("1", false, 0), at(1));
        assert_eq!(book.pod("n/a").unwrap().unready, None, "it was not ready before already");
    }
}
