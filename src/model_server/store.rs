//! Stored features: one positioned read of the volume for each row scored.
//!
//! Owns: one open file per worker and the decoding of a record. Caches nothing, so that whatever slows, fails
//! or corrupts the volume is felt by the request that meets it. What the kernel caches is its own affair; a
//! FUSE view in front of the volume has to switch that off to be seen.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::model::StoreLayout;

/// One worker's view of the file of stored features.
pub(super) struct FeatureStore {
    layout: StoreLayout,
    file: Option<File>,
    buffer: Vec<u8>,
    row: Vec<f64>,
}

impl FeatureStore {
    /// Opens nothing yet; the first read does.
    pub(super) fn new(layout: StoreLayout) -> FeatureStore {
        let (buffer, row) = (vec![0; layout.record_bytes], Vec::with_capacity(layout.columns));
        FeatureStore { layout, file: None, buffer, row }
    }

    /// The stored columns of this key, or `None` when no such account is known.
    ///
    /// # Errors
    /// The text names the file and what the system said, or that the record is damaged.
    pub(super) fn fetch(&mut self, key: u64) -> Result<Option<&[f64]>, String> {
        let Some(index) = key.checked_sub(self.layout.first_key).filter(|i| *i < self.layout.records) else {
            return Ok(None);
        };
        if let Err(error) = self.read(index) {
            // A file that failed may be a stale view of a volume that is well again: the next request opens it
            // anew. This request is not tried twice, because a retry would hide half of the failures.
            self.file = None;
            return Err(self.describe(key, &error.to_string()));
        }
        if self.decode(key) { Ok(Some(&self.row)) } else { Err(self.describe(key, "the record is damaged")) }
    }

    fn read(&mut self, index: u64) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match &self.layout.held {
                Some(held) => held.try_clone()?,
                None => File::open(&self.layout.path)?,
            },
        };
        let file = self.file.insert(file);
        file.read_exact_at(&mut self.buffer, index * self.layout.record_bytes as u64).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                io::Error::other("the file ends before the record")
            } else {
                e
            }
        })
    }

    /// Whether the buffer holds a whole record of this key; leaves its columns in `row`.
    fn decode(&mut self, key: u64) -> bool {
        let Ok(text) = std::str::from_utf8(&self.buffer) else { return false };
        let Some(text) = text.strip_suffix('\n') else { return false };
        self.row.clear();
        // More columns than promised are damage too, and must not make the row grow.
        for cell in text.split(',').take(self.layout.columns + 1) {
            let Ok(value) = cell.trim_start().parse() else { return false };
            self.row.push(value);
        }
        self.row.len() == self.layout.columns && self.row[0] == key as f64
    }

    fn describe(&self, key: u64, problem: &str) -> String {
        let file = self.layout.path.file_name().unwrap_or_default().to_string_lossy();
        format!("cannot read the stored features of {} {key} from {file}: {problem}", self.layout.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &tempfile::TempDir, text: &str) -> FeatureStore {
        let path = dir.path().join("features.csv");
        std::fs::write(&path, text).unwrap();
        let layout = StoreLayout {
            path,
            held: None,
            key: "id".to_owned(),
            columns: 2,
            first_key: 10,
            records: 3,
            record_bytes: 6,
        };
        FeatureStore::new(layout)
    }

    #[test]
    fn fetches_records_and_knows_strangers() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir, "10, 7\n11,88\n12, 0\n");
        assert_eq!(store.fetch(11).unwrap(), Some(&[11.0, 88.0][..]));
        assert_eq!(store.fetch(10).unwrap(), Some(&[10.0, 7.0][..]));
        assert_eq!(store.fetch(9).unwrap(), None);
        assert_eq!(store.fetch(13).unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_not_a_number() {
        let dir = tempfile::tempdir().unwrap();
        for damaged in ["10, x\n", "11, 7\n", "10,7,7", "1,7,7\n", "10   \n", "10\u{e9}, 7"] {
            let problem = store(&dir, damaged).fetch(10).unwrap_err();
            assert!(problem.ends_with("from features.csv: the record is damaged"), "{damaged:?}: {problem}");
        }
    }

    #[test]
    fn reads_anew_each_time_and_recovers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.csv");
        let mut store = store(&dir, "10, 7\n");
        assert!(store.fetch(10).is_ok());
        std::fs::write(&path, "10, 8\n").unwrap();
        assert_eq!(store.fetch(10).unwrap(), Some(&[10.0, 8.0][..]), "nothing is cached");
        assert!(store.fetch(11).unwrap_err().contains("the file ends before the record"));
        std::fs::remove_file(&path).unwrap();
        assert!(store.fetch(10).unwrap_err().contains("No such file"), "a file that failed is opened anew");
        std::fs::write(&path, "10, 9\n").unwrap();
        assert_eq!(store.fetch(10).unwrap(), Some(&[10.0, 9.0][..]));
    }
}
