//! A copy of a volume for one replica, which may write to it.
//!
//! Owns making it, bounded, and removing it, which a watchdog or `revert` may do after us: only what stands where our copies
//! stand is ever removed, and never through a mount or a link.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Bytes of all copies of a run, at most: they stand where temporary files do, which is memory on some machines.
pub const MAX_COPIED: u64 = 4 << 30;

/// Files and folders of one copy, at most.
const MAX_ENTRIES: usize = 100_000;

/// What the folder of a copy is called: this and the replica's number.
const PREFIX: &str = "copy-";

/// Where the copy of this replica stands in the run's private folder.
pub fn copy_of(private: &Path, replica: u16) -> PathBuf {
    private.join(format!("{PREFIX}{replica}"))
}

/// Bytes of the files in a volume.
///
/// # Errors
/// When it cannot be read, or has more than 100,000 files and folders.
pub fn size_of(volume: &Path) -> Result<u64, String> {
    let mut bytes = 0;
    walk(volume, &mut |_, meta| {
        bytes += if meta.is_file() { meta.len() } else { 0 };
        Ok(())
    })?;
    Ok(bytes)
}

/// Copies a volume to a folder that does not exist yet: files, folders and links, with their modes.
///
/// # Errors
/// Names the file that could not be copied; pipes, sockets and devices cannot. What was made stays, for [`remove_copy`].
pub fn copy(volume: &Path, to: &Path, stop: &dyn Fn() -> bool) -> Result<(), String> {
    fs::create_dir(to).map_err(|e| format!("{}: {e}", to.display()))?;
    walk(volume, &mut |path, meta| {
        if stop() {
            return Err("interrupted".to_owned());
        }
        let target = to.join(path.strip_prefix(volume).unwrap_or(path));
        let kind = meta.file_type();
        let done = if kind.is_dir() {
            fs::create_dir(&target)
        } else if kind.is_symlink() {
            inward(volume, path).and_then(|text| std::os::unix::fs::symlink(text, &target))
        } else if kind.is_file() {
            fs::copy(path, &target).map(drop)
        } else {
            return Err(format!(
                "{}: neither file, folder nor link; a volume with it cannot be copied",
                path.display()
            ));
        };
        done.map_err(|e| format!("{}: {e}", path.display()))
    })
}

/// The text of a link in the copy: relative, so that it stays in the copy. A link that leads out of the volume would let a replica write
/// to what is not a copy.
fn inward(volume: &Path, link: &Path) -> io::Result<PathBuf> {
    let text = fs::read_link(link)?;
    let folder = link.parent().unwrap_or(volume);
    let (mut to, base) = (PathBuf::new(), folder.join(&text));
    for part in base.components() {
        match part {
            Component::ParentDir => {
                to.pop();
            }
            Component::CurDir => {}
            other => to.push(other),
        }
    }
    let Ok(inside) = to.strip_prefix(volume) else {
        let why = format!("this link leads out of the volume, to {}: replicas would write there", text.display());
        return Err(io::Error::other(why));
    };
    if text.is_relative() {
        return Ok(text);
    }
    let depth = folder.strip_prefix(volume).map_or(0, |folder| folder.components().count());
    Ok((0..depth).map(|_| "..").collect::<PathBuf>().join(inside))
}

/// Removes a copy and what a replica wrote into it. Gone already is success.
///
/// # Errors
/// When the path is not one of a copy, when something is mounted in it, or when it is still there afterwards.
pub fn remove_copy(path: &Path) -> Result<bool, String> {
    let by_hand =
        |why: String| format!("the folder {}: {why}; look what is in it and remove it by hand", path.display());
    let named = |path: Option<&Path>, prefix: &str| {
        path.and_then(Path::file_name).and_then(OsStr::to_str).is_some_and(|name| name.starts_with(prefix))
    };
    if !path.is_absolute() || !named(Some(path), PREFIX) || !named(path.parent(), "resbench-") {
        return Err(by_hand("not the name of a copy of ours".to_owned()));
    }
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(by_hand(e.to_string())),
        Ok(meta) if !meta.is_dir() => return Err(by_hand("it is not a folder any more".to_owned())),
        Ok(_) => {}
    }
    // The folder around it is ours alone, or somebody else made it since.
    let around = path.parent().map(fs::symlink_metadata).transpose().map_err(|e| by_hand(e.to_string()))?;
    let ours =
        around.is_some_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o077 == 0);
    if !ours {
        return Err(by_hand("the folder around it is not one that only we may write to".to_owned()));
    }
    if let Some(mount) = super::mounts::mounted_within(path)? {
        return Err(by_hand(format!("something is mounted at {}", mount.display())));
    }
    fs::remove_dir_all(path).map(|()| true).map_err(|e| by_hand(e.to_string()))
}

/// Calls `each` for everything below a folder, folders before what is in them. Links are not followed.
fn walk(folder: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata) -> Result<(), String>) -> Result<(), String> {
    let (mut waiting, mut seen) = (vec![folder.to_owned()], 0);
    while let Some(folder) = waiting.pop() {
        let problem = |e| format!("{}: {e}", folder.display());
        for entry in fs::read_dir(&folder).map_err(problem)? {
            let path = entry.map_err(problem)?.path();
            let meta = fs::symlink_metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            seen += 1;
            if seen > MAX_ENTRIES {
                return Err(format!("more than {MAX_ENTRIES} files and folders; name a smaller folder as `volume`"));
            }
            each(&path, &meta)?;
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("resbench-1");
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&private).unwrap();
        (dir, private)
    }

    #[test]
    fn a_copy_is_the_same_and_goes_with_what_was_written() {
        let (dir, private) = private();
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("a/b")).unwrap();
        fs::write(volume.join("a/b/model.bin"), "weights").unwrap();
        std::os::unix::fs::symlink("a/b/model.bin", volume.join("latest")).unwrap();
        std::os::unix::fs::symlink(volume.join("a/b"), volume.join("a/current")).unwrap();
        assert_eq!(size_of(&volume), Ok(7));
        let path = copy_of(&private, 2);
        copy(&volume, &path, &|| false).unwrap();
        assert_eq!(fs::read_to_string(path.join("latest")).unwrap(), "weights");
        fs::write(path.join("a/new"), "x").unwrap();
        fs::write(path.join("a/current/model.bin"), "changed").unwrap();
        assert_eq!(
            fs::read_to_string(path.join("a/b/model.bin")).unwrap(),
            "changed",
            "an absolute link leads into the copy"
        );
        assert_eq!(remove_copy(&path), Ok(true));
        assert_eq!(remove_copy(&path), Ok(false));
        assert_eq!(fs::read_to_string(volume.join("a/b/model.bin")).unwrap(), "weights");
        assert!(!volume.join("a/new").exists());
    }

    #[test]
    fn only_copies_of_ours_are_removed() {
        let (dir, private) = private();
        let theirs = dir.path().join("copy-1");
        fs::create_dir(&theirs).unwrap();
        let volume = private.join("volume-1");
        fs::create_dir(&volume).unwrap();
        let link = copy_of(&private, 3);
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        for path in [&theirs, &volume, &link, &PathBuf::from("copy-1")] {
            let why = remove_copy(path).unwrap_err();
            assert!(why.contains("by hand"), "{why}");
        }
        assert!(theirs.exists() && volume.exists());
    }

    #[test]
    fn what_cannot_be_copied_is_named() {
        let (dir, private) = private();
        let volume = dir.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(volume.join("socket")).unwrap();
        let why = copy(&volume, &copy_of(&private, 0), &|| false).unwrap_err();
        assert!(why.contains("socket") && why.contains("cannot be copied"), "{why}");
        fs::remove_file(volume.join("socket")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", volume.join("out")).unwrap();
        let why = copy(&volume, &copy_of(&private, 1), &|| false).unwrap_err();
        assert!(why.contains("out: this link leads out of the volume"), "{why}");
        assert!(size_of(&dir.path().join("none")).unwrap_err().contains("none"));
    }
}
