//! The numbers by which the kernel calls files of a view.
//!
//! A number stands for a path and for the file that was found there (device and inode), so that a file replaced
//! underneath gets a new number, as it has on a real disk. Numbers are never used again. An entry lives until the
//! kernel forgets it, so the table is as large as the kernel's cache of names, and bounded besides.

use std::collections::HashMap;
use std::sync::Arc;

use fuser::Errno;
use rustix::fs::Stat;

/// The volume itself.
pub(super) const ROOT: u64 = 1;

/// Names known at the same time, at most; about 200 bytes each.
const MAX_KNOWN: usize = 262_144;

/// A path relative to the volume; empty for the volume itself.
pub(super) type RelPath = Arc<[u8]>;

/// Which file of the source it is: device and inode.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(stat: &Stat) -> Identity {
        Identity(stat.st_dev, stat.st_ino)
    }
}

pub(super) struct Inodes {
    last: u64,
    by_number: HashMap<u64, Entry>,
    by_path: HashMap<RelPath, u64>,
}

struct Entry {
    path: RelPath,
    identity: Identity,
    lookups: u64,
}

impl Inodes {
    pub(super) fn new(root: Identity) -> Inodes {
        let path: RelPath = Arc::from(&b""[..]);
        let entry = Entry { path: path.clone(), identity: root, lookups: 1 };
        Inodes { last: ROOT, by_number: HashMap::from([(ROOT, entry)]), by_path: HashMap::from([(path, ROOT)]) }
    }

    /// The number of this file, known from now on (once more).
    pub(super) fn remember(&mut self, path: &RelPath, identity: Identity) -> Result<u64, Errno> {
        if let Some(&number) = self.by_path.get(path)
            && let Some(entry) = self.by_number.get_mut(&number)
            && entry.identity == identity
        {
            entry.lookups += 1;
            return Ok(number);
        }
        if self.by_number.len() >= MAX_KNOWN {
            return Err(Errno::ENFILE);
        }
        self.last += 1;
        self.by_number.insert(self.last, Entry { path: path.clone(), identity, lookups: 1 });
        self.by_path.insert(path.clone(), self.last);
        Ok(self.last)
    }

    /// What a number stands for; `ESTALE` for an unknown one.
    pub(super) fn get(&self, number: u64) -> Result<(RelPath, Identity), Errno> {
        let entry = self.by_number.get(&number).ok_or(Errno::ESTALE)?;
        Ok((entry.path.clone(), entry.identity))
    }

    /// What was at `old`, and below it, is at `new` now; and the other way round for an exchange.
    pub(super) fn renamed(&mut self, old: &[u8], new: &[u8], exchange: bool) {
        let moved = |path: &[u8], from: &[u8], to: &[u8]| -> Option<RelPath> {
            let rest = path.strip_prefix(from)?;
            (rest.is_empty() || rest[0] == b'/').then(|| Arc::from([to, rest].concat()))
        };
        let numbers: Vec<u64> = self.by_number.keys().copied().collect();
        let mut arrived = Vec::new();
        for number in numbers {
            let Some(entry) = self.by_number.get_mut(&number) else { continue };
            let target = moved(&entry.path, old, new).or_else(|| moved(&entry.path, new, old).filter(|_| exchange));
            let Some(target) = target else { continue };
            let left = std::mem::replace(&mut entry.path, target.clone());
            if self.by_path.get(&left) == Some(&number) {
                self.by_path.remove(&left);
            }
            arrived.push((target, number));
        }
        // After all of them have left: an exchange brings each where another one was.
        self.by_path.extend(arrived);
    }

    /// The kernel gave back this many lookups.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(entry) = self.by_number.get_mut(&number) else { return };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups > 0 || number == ROOT {
            return;
        }
        if let Some(entry) = self.by_number.remove(&number)
            && self.by_path.get(&entry.path) == Some(&number)
        {
            self.by_path.remove(&entry.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_move_with_a_rename_and_with_the_folder_around() {
        let path = |text: &str| -> RelPath { Arc::from(text.as_bytes()) };
        let mut inodes = Inodes::new(Identity(0, 0));
        let folder = inodes.remember(&path("a"), Identity(1, 1)).unwrap();
        let inside = inodes.remember(&path("a/x"), Identity(1, 2)).unwrap();
        let other = inodes.remember(&path("ab"), Identity(1, 3)).unwrap();
        inodes.renamed(b"a", b"b", false);
        let at = |inodes: &Inodes, number| inodes.get(number).unwrap().0;
        assert_eq!([folder, inside, other].map(|n| at(&inodes, n)), ["b", "b/x", "ab"].map(path));
        assert_eq!(inodes.remember(&path("b/x"), Identity(1, 2)).unwrap(), inside);
        inodes.renamed(b"b", b"ab", true);
        assert_eq!([folder, inside, other].map(|n| at(&inodes, n)), ["ab", "ab/x", "b"].map(path));
        assert_eq!(inodes.remember(&path("b"), Identity(1, 3)).unwrap(), other);
    }

    #[test]
    fn numbers_follow_the_file_and_go_when_forgotten() {
        let mut inodes = Inodes::new(Identity(0, 0));
        let path: RelPath = Arc::from(&b"a"[..]);
        let old = inodes.remember(&path, Identity(1, 1)).unwrap();
        assert_eq!(inodes.remember(&path, Identity(1, 1)).unwrap(), old);
        let new = inodes.remember(&path, Identity(1, 2)).unwrap();
        assert_ne!(old, new);
        inodes.forget(old, 2);
        assert!(inodes.get(old).is_err());
        assert_eq!(inodes.remember(&path, Identity(1, 2)).unwrap(), new, "the old one took only itself away");
        inodes.forget(new, 2);
        inodes.forget(ROOT, 99);
        assert_eq!((inodes.by_number.len(), inodes.by_path.len()), (1, 1));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut inodes = Inodes::new(Identity(0, 0));
        for n in 0..MAX_KNOWN as u64 - 1 {
            inodes.remember(&Arc::from(&n.to_le_bytes()[..]), Identity(0, n)).unwrap();
        }
        assert!(inodes.remember(&Arc::from(&b"more"[..]), Identity(0, 0)).is_err());
    }
}
