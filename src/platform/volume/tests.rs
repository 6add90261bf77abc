//! Views on a real mount. Where this machine cannot mount, each test says so and checks nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::monotonic_nanos;
use crate::plan::{IoMethod, IoScope};
use crate::platform::{VolumeEffect, VolumeEvidence, VolumeFault};
use crate::units::Ratio;

const EROFS: i32 = 30;
const EIO: i32 = 5;
const HOUR: VolumeEffect = VolumeEffect::Delay(Duration::from_secs(3600));
/// Something that a replica would do, again and again.
type Call<'a> = &'a mut dyn FnMut() -> std::io::Result<()>;
/// Names the volume and the mount point to the child that is to be killed.
const CHILD: &str = "RESBENCH_TEST_VIEW";

/// A source with two files and its view. Fields drop in order: the view goes before the folders.
struct Stage {
    view: Option<VolumeView>,
    control: Arc<dyn VolumeControl>,
    source: TempDir,
    point: TempDir,
}

impl Stage {
    fn new() -> Option<Stage> {
        Stage::with(Caching::Never)
    }

    /// A view of a copy.
    fn writable() -> Option<Stage> {
        Stage::made(Caching::Never, Writes::ToCopy)
    }

    fn with(caching: Caching) -> Option<Stage> {
        Stage::made(caching, Writes::RefusedByView)
    }

    fn made(caching: Caching, writes: Writes) -> Option<Stage> {
        if let Err(e) = available() {
            eprintln!("SKIPPED, nothing was checked: {e}");
            return None;
        }
        let (source, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("slow.bin"), noise(64 * 1024, 1)).unwrap();
        fs::write(source.path().join("other.txt"), b"other").unwrap();
        let view = VolumeView::mount_with(source.path(), point.path(), caching, writes).unwrap();
        let control = view.control();
        Some(Stage { view: Some(view), control, source, point })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.point.path().join(name)
    }

    fn add(&self, path: &str, method: IoMethod, effect: VolumeEffect) -> u64 {
        self.add_share(path, method, effect, 1.0)
    }

    fn add_share(&self, path: &str, method: IoMethod, effect: VolumeEffect, share: f64) -> u64 {
        let scope = IoScope { path: Some(path.into()), methods: vec![method], share: Ratio::new(share).unwrap() };
        self.control.add(VolumeFault { scope, effect, seed: 42 })
    }

    /// Waits until that many calls are hit, however slow the machine is.
    fn wait_for_hits(&self, id: u64, hits: u64) {
        let end = monotonic_nanos() + 30_000_000_000;
        while self.control.evidence(id).hit < hits {
            assert!(monotonic_nanos() < end, "{:?}, waiting for {hits} hits", self.control.evidence(id));
            crate::clock::sleep(Duration::from_millis(1));
        }
    }
}

/// Bytes without a pattern, the same for the same seed.
fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut x = seed;
    let next = |_| {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (x >> 33) as u8
    };
    (0..size).map(next).collect()
}

/// Everything under a folder: what it is, and its bytes.
fn tree(root: &Path) -> BTreeMap<OsString, (u32, u64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().to_owned();
            found.insert(name, (meta.mode(), meta.size(), meta.mtime_nsec(), bytes));
        }
    }
    found
}

fn python(script: &str, file: &Path) -> Option<Command> {
    if Command::new("python3").arg("-V").output().is_err() {
        eprintln!("SKIPPED, nothing was checked: no python3");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(file);
    Some(command)
}

#[test]
fn a_tree_is_shown_byte_for_byte() {
    let Some(stage) = Stage::new() else { return };
    let root = stage.source.path();
    fs::write(root.join("big.bin"), noise(10 << 20, 2)).unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::create_dir_all(root.join("a/b/c d")).unwrap();
    fs::write(root.join("a/b/c d/deep"), noise(4097, 3)).unwrap();
    for name in [&b" lead and\ttab\n"[..], b"-rf", b"\xff\xfe no utf-8", "größe 模型.onnx".as_bytes(), &[b'n'; 255]]
    {
        fs::write(root.join(OsString::from_vec(name.to_vec())), name).unwrap();
    }
    symlink("b/c d/deep", root.join("a/link")).unwrap();
    symlink("/no/such", root.join("dangling")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    (0..2000).for_each(|n| fs::write(root.join(format!("many/{n}")), n.to_string()).unwrap());
    let (source, shown) = (tree(root), tree(stage.point.path()));
    assert_eq!(source.len(), shown.len());
    for (name, original) in &source {
        assert!(shown.get(name) == Some(original), "{name:?} differs");
    }
    assert_eq!(fs::read(stage.at("a/link")).unwrap(), noise(4097, 3));
    assert_eq!(fs::read(stage.at("nothing")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    let (a, b) = (rustix::fs::statvfs(root).unwrap(), rustix::fs::statvfs(stage.point.path()).unwrap());
    assert_eq!((a.f_blocks, a.f_frsize), (b.f_blocks, b.f_frsize));
}

#[test]
fn every_write_is_refused() {
    let Some(stage) = Stage::new() else { return };
    let before = tree(stage.source.path());
    let file = stage.at("other.txt");
    let refusals = [
        ("write", fs::write(&file, b"x").err()),
        ("append", File::options().append(true).open(&file).err()),
        ("read-write", File::options().read(true).write(true).open(&file).err()),
        ("create", File::create(stage.at("new")).err()),
        ("mkdir", fs::create_dir(stage.at("folder")).err()),
        ("unlink", fs::remove_file(&file).err()),
        ("rename", fs::rename(&file, stage.at("moved")).err()),
        ("link", fs::hard_link(&file, stage.at("hard")).err()),
        ("symlink", symlink("x", stage.at("soft")).err()),
        ("chmod", fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).err()),
        ("truncate", File::options().write(true).truncate(true).open(&file).err()),
    ];
    for (what, error) in refusals {
        assert_eq!(error.and_then(|e| e.raw_os_error()), Some(EROFS), "{what}");
    }
    assert!(tree(stage.source.path()) == before);
}

#[test]
fn a_full_disk_refuses_what_needs_room() {
    let Some(stage) = Stage::new() else { return };
    let (before, id) = (tree(stage.source.path()), stage.add("new*", IoMethod::Write, VolumeEffect::Errno(28)));
    let refusals = [
        ("create", File::create(stage.at("new")).err(), 28),
        ("mkdir", fs::create_dir(stage.at("new-folder")).err(), 28),
        ("symlink", symlink("x", stage.at("new-link")).err(), 28),
        ("link", fs::hard_link(stage.at("other.txt"), stage.at("new-name")).err(), 28),
        ("out of scope", fs::write(stage.at("other.txt"), b"x").err(), EROFS),
        ("needs no room", fs::remove_file(stage.at("other.txt")).err(), EROFS),
    ];
    for (what, error, code) in refusals {
        assert_eq!(error.and_then(|e| e.raw_os_error()), Some(code), "{what}");
    }
    assert_eq!((stage.control.evidence(id).seen, stage.control.evidence(id).hit), (4, 4));
    stage.control.remove(id);
    assert_eq!(File::create(stage.at("new")).unwrap_err().raw_os_error(), Some(EROFS));
    assert!(tree(stage.source.path()) == before);
}

#[test]
fn corrupt_bytes_are_shown_and_gone_with_the_fault_in_maps_too() {
    let Some(stage) = Stage::new() else { return };
    let script = "import mmap,sys\n\
        f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ); want=m[:]\n\
        for _ in range(2):\n\
        \x20 print('look',flush=True); sys.stdin.readline()\n\
        \x20 print(sum(a!=b for a,b in zip(m[:],want)),flush=True)\n";
    let Some(mut command) = python(script, &stage.at("slow.bin")) else { return };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(lines.next().unwrap(), "look");
    let id = stage.add("slow.bin", IoMethod::Read, VolumeEffect::Corrupt(5));
    let (shown, original) = (fs::read(stage.at("slow.bin")).unwrap(), noise(64 * 1024, 1));
    assert_eq!(shown.iter().zip(&original).filter(|(a, b)| **a == !**b).count(), 5);
    assert_eq!(shown.iter().zip(&original).filter(|(a, b)| a != b).count(), 5);
    assert_eq!(fs::read(stage.at("other.txt")).unwrap(), b"other");
    stdin.write_all(b"go\n").unwrap();
    assert_eq!((lines.next().unwrap(), lines.next().unwrap()), ("5".into(), "look".into()));
    assert!(stage.control.remove(id));
    stdin.write_all(b"go\n").unwrap();
    assert_eq!(lines.next().unwrap(), "0");
    assert!(child.wait().unwrap().success());
    assert!(fs::read(stage.at("slow.bin")).unwrap() == original);
    assert!(fs::read(stage.source.path().join("slow.bin")).unwrap() == original, "the original was never touched");
    assert!(stage.control.evidence(id).hit >= 2 && stage.control.evidence(id).flipped >= 10);
}

#[test]
fn memory_maps_work_shared_and_private() {
    let Some(stage) = Stage::new() else { return };
    let script = "import mmap,sys,os\n\
        f=open(sys.argv[1],'rb'); want=f.read()\n\
        shared=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ)\n\
        private=mmap.mmap(f.fileno(),0,flags=mmap.MAP_PRIVATE,prot=mmap.PROT_READ|mmap.PROT_WRITE)\n\
        assert shared[:]==want and private[:]==want and len(want)==65536\n\
        private[0]=1-(want[0]&1)\n\
        assert open(sys.argv[1],'rb').read()==want\n";
    let Some(mut command) = python(script, &stage.at("slow.bin")) else { return };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_delay_bites_a_map_that_was_touched_before() {
    let Some(stage) = Stage::new() else { return };
    let script = "import mmap,sys,time\n\
        f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ)\n\
        m[:]; print('touched',flush=True); sys.stdin.readline()\n\
        t=time.monotonic(); m[:]; print(time.monotonic()-t,flush=True)\n";
    let Some(mut command) = python(script, &stage.at("slow.bin")) else { return };
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "touched");
    let id = stage.add("slow.bin", IoMethod::Read, VolumeEffect::Delay(Duration::from_millis(200)));
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let took: f64 = lines.next().unwrap().unwrap().parse().unwrap();
    assert!(child.wait().unwrap().success());
    let evidence = stage.control.evidence(id);
    assert!(took >= 0.2 && evidence.hit > 0, "{took} s, {evidence:?}");
}

#[test]
fn a_delay_bites_an_open_file_and_no_other() {
    let Some(stage) = Stage::new() else { return };
    let slow = File::open(stage.at("slow.bin")).unwrap();
    let mut byte = [0];
    slow.read_exact_at(&mut byte, 0).unwrap();
    let id = stage.add("slow.bin", IoMethod::Read, VolumeEffect::Delay(Duration::from_secs(1)));
    let (tell, told) = channel();
    let reader = thread::spawn(move || {
        let begin = monotonic_nanos();
        slow.read_exact_at(&mut [0; 4096], 0).unwrap();
        tell.send(()).unwrap();
        monotonic_nanos() - begin
    });
    stage.wait_for_hits(id, 1);
    for _ in 0..20 {
        assert_eq!(fs::read(stage.at("other.txt")).unwrap(), b"other");
        // Opening the slow file is not in scope either, and neither is a look at it while its read is held.
        File::open(stage.at("slow.bin")).unwrap().metadata().unwrap();
    }
    assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "the others waited for the slow one");
    assert!(reader.join().unwrap() >= 1_000_000_000);
    let evidence = stage.control.evidence(id);
    assert_eq!((evidence.seen, evidence.hit), (1, 1));
    assert!(evidence.delayed_ns >= 1_000_000_000, "{evidence:?}");
    assert!(stage.control.remove(id) && !stage.control.remove(id));
    assert_eq!(stage.control.evidence(id), evidence, "evidence outlives the fault");
}

#[test]
fn each_method_answers_its_errno() {
    let Some(stage) = Stage::new() else { return };
    fs::create_dir(stage.source.path().join("sub")).unwrap();
    fs::write(stage.source.path().join("sub/inner"), b"inner").unwrap();
    let mut open = File::open(stage.at("other.txt")).unwrap();
    let cases: [(IoMethod, &str, i32, Call); 5] = [
        (IoMethod::Read, "*.txt", EIO, &mut || open.read(&mut [0; 8]).map(drop)),
        (IoMethod::Open, "other.txt", 13, &mut || File::open(stage.at("other.txt")).map(drop)),
        (IoMethod::Getattr, "**/inner", EIO, &mut || fs::metadata(stage.at("sub/inner")).map(drop)),
        (IoMethod::Readdir, "sub", EIO, &mut || fs::read_dir(stage.at("sub"))?.try_for_each(|e| e.map(drop))),
        (IoMethod::Lookup, "sub/*", 2, &mut || fs::metadata(stage.at("sub/inner")).map(drop)),
    ];
    for (method, path, code, call) in cases {
        call().unwrap();
        let id = stage.add(path, method, VolumeEffect::Errno(code));
        assert_eq!(call().unwrap_err().raw_os_error(), Some(code), "{method:?}");
        let VolumeEvidence { seen, hit, delayed_ns, .. } = stage.control.evidence(id);
        assert!(hit > 0 && seen == hit && delayed_ns == 0, "{method:?}");
        stage.control.remove(id);
        call().unwrap();
    }
    assert_eq!(stage.control.active(), 0);
}

#[test]
fn a_share_hits_about_that_many() {
    let Some(stage) = Stage::new() else { return };
    let id = stage.add_share("*", IoMethod::Read, VolumeEffect::Errno(EIO), 0.2);
    let file = File::open(stage.at("slow.bin")).unwrap();
    let failed = (0..1000).filter(|_| file.read_at(&mut [0; 16], 0).is_err()).count() as u64;
    let evidence = stage.control.evidence(id);
    assert_eq!((evidence.seen, evidence.hit), (1000, failed));
    assert!((140..260).contains(&failed), "{failed} of 1000"); // 4.7 standard deviations; the seed is fixed anyway
}

#[test]
fn sixteen_readers_are_held_together_and_let_go_together() {
    let Some(stage) = Stage::new() else { return };
    let id = stage.add("slow.bin", IoMethod::Read, HOUR);
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let path = stage.at("slow.bin");
            thread::spawn(move || fs::read(path).unwrap())
        })
        .collect();
    stage.wait_for_hits(id, 16);
    assert!(stage.control.remove(id));
    assert!(stage.control.evidence(id).delayed_ns > 0, "charged when it is taken off, at the latest");
    for reader in readers {
        assert!(reader.join().unwrap() == noise(64 * 1024, 1));
    }
}

#[test]
fn cached_pages_go_when_a_fault_begins() {
    // What kernels before Linux 6.6 get, where direct reads forbid shared maps.
    let Some(stage) = Stage::with(Caching::WhileOpen) else { return };
    let file = File::open(stage.at("slow.bin")).unwrap();
    let mut first = vec![0; 64 * 1024];
    file.read_exact_at(&mut first, 0).unwrap();
    assert!(first == noise(64 * 1024, 1));
    let id = stage.add("slow.bin", IoMethod::Read, VolumeEffect::Errno(EIO));
    assert_eq!(file.read_at(&mut [0; 16], 0).unwrap_err().raw_os_error(), Some(EIO));
    assert!(stage.control.evidence(id).hit > 0);
}

#[test]
fn files_may_be_replaced_and_vanish_underneath() {
    let Some(stage) = Stage::new() else { return };
    let old = File::open(stage.at("other.txt")).unwrap();
    fs::write(stage.source.path().join("next"), b"a longer text").unwrap();
    fs::rename(stage.source.path().join("next"), stage.source.path().join("other.txt")).unwrap();
    assert_eq!(fs::read(stage.at("other.txt")).unwrap(), b"a longer text");
    let mut kept = [0; 5];
    old.read_exact_at(&mut kept, 0).unwrap();
    assert_eq!((&kept, old.metadata().unwrap().len()), (b"other", 5));
    fs::remove_file(stage.source.path().join("other.txt")).unwrap();
    assert_eq!(fs::read(stage.at("other.txt")).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    fs::create_dir(stage.source.path().join("other.txt")).unwrap();
    assert!(fs::metadata(stage.at("other.txt")).unwrap().is_dir());
    old.read_exact_at(&mut kept, 0).unwrap();
}

#[test]
fn unmounting_with_open_files_and_held_calls_lets_go() {
    let Some(mut stage) = Stage::new() else { return };
    let file = File::open(stage.at("slow.bin")).unwrap();
    let held = file.try_clone().unwrap();
    let id = stage.add("slow.bin", IoMethod::Read, HOUR);
    let reader = thread::spawn(move || held.read_at(&mut [0; 16], 0));
    stage.wait_for_hits(id, 1);
    stage.view.take().unwrap().unmount().unwrap();
    assert_eq!(mounts::mounted_at(stage.point.path()).unwrap(), None);
    assert_eq!(reader.join().unwrap().unwrap(), 16);
    let mut still = vec![0; 4096];
    file.read_exact_at(&mut still, 0).unwrap();
    assert!(still == noise(4096, 1));
    assert_eq!(stage.control.active(), 0);
    let late = stage.add("slow.bin", IoMethod::Read, VolumeEffect::Errno(EIO));
    assert_eq!(file.read_at(&mut [0; 16], 0).unwrap(), 16);
    assert_eq!((stage.control.active(), stage.control.evidence(late).seen), (0, 0));
    drop(file);
    // The folder is an ordinary one again, and can be mounted on once more.
    assert_eq!(fs::read_dir(stage.point.path()).unwrap().count(), 0);
    let again = VolumeView::mount(stage.source.path(), stage.point.path(), Writes::RefusedByKernel).unwrap();
    assert_eq!(fs::read(stage.at("other.txt")).unwrap(), b"other");
    unmount_path(again.path()).unwrap();
    again.unmount().unwrap();
}

#[test]
fn dropping_unmounts_even_in_a_panic() {
    let Some(mut stage) = Stage::new() else { return };
    let view = stage.view.take().unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        assert!(mounts::mounted_at(view.path()).unwrap().is_some_and(|m| m.is_ours()));
        panic!("of the test");
    }));
    assert!(panicked.is_err());
    assert_eq!(mounts::mounted_at(stage.point.path()).unwrap(), None);
}

#[test]
fn mounting_is_refused_where_it_would_harm() {
    let Some(stage) = Stage::new() else { return };
    let (source, point) = (stage.source.path(), stage.point.path());
    fs::create_dir(source.join("inside")).unwrap();
    for (from, to, why) in [
        (source, source.join("inside"), "within"),
        (&source.join("inside"), source.to_path_buf(), "within"),
        (source, point.to_path_buf(), "already"),
        (&source.join("other.txt"), point.to_path_buf(), "not a folder"),
        (&source.join("nothing"), point.to_path_buf(), "nothing"),
    ] {
        let error = VolumeView::mount(from, &to, Writes::RefusedByKernel).err().unwrap();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_mount_whose_server_was_killed_is_put_away() {
    if let Err(e) = available() {
        return eprintln!("SKIPPED, nothing was checked: {e}");
    }
    let (source, point) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("file"), b"x").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "platform::volume::tests::child_that_mounts", "--ignored", "--nocapture"])
        .env(CHILD, format!("{}\n{}", source.path().display(), point.path().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|l| l.unwrap().contains("mounted")));
    let file = File::open(point.path().join("file")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        fs::metadata(point.path()).unwrap_err().raw_os_error(),
        Some(107),
        "transport endpoint is not connected"
    );
    unmount_path(point.path()).unwrap();
    unmount_path(point.path()).unwrap();
    assert_eq!(fs::read_dir(point.path()).unwrap().count(), 0);
    drop(file);
}

/// Not a test by itself: the process that the test above kills.
#[test]
#[ignore = "helper of a_mount_whose_server_was_killed_is_put_away"]
fn child_that_mounts() {
    let Ok(paths) = std::env::var(CHILD) else { return };
    let (source, point) = paths.split_once('\n').unwrap();
    let _view = VolumeView::mount(Path::new(source), Path::new(point), Writes::RefusedByKernel).unwrap();
    println!("mounted");
    // The killer has half a minute; should it die first, the view goes with us.
    crate::clock::sleep(Duration::from_secs(30));
}

#[test]
fn what_is_written_through_a_view_of_a_copy_is_there() {
    let Some(stage) = Stage::writable() else { return };
    let log = stage.at("log/a.txt");
    fs::create_dir(stage.at("log")).unwrap();
    fs::write(&log, "one\n").unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    file.write_all(b"two\n").unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read_to_string(stage.source.path().join("log/a.txt")).unwrap(), "one\ntwo\n");
    assert_eq!(fs::metadata(&log).unwrap().len(), 8);

    fs::rename(stage.at("log"), stage.at("logs")).unwrap();
    file.write_all(b"three\n").unwrap();
    assert_eq!(fs::read_to_string(stage.at("logs/a.txt")).unwrap(), "one\ntwo\nthree\n");
    File::options().write(true).open(stage.at("logs/a.txt")).unwrap().set_len(4).unwrap();
    assert_eq!(fs::read_to_string(stage.at("logs/a.txt")).unwrap(), "one\n");
    fs::set_permissions(stage.at("logs/a.txt"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(stage.source.path().join("logs/a.txt")).unwrap().mode() & 0o777, 0o600);

    symlink("logs/a.txt", stage.at("latest")).unwrap();
    assert_eq!(fs::read_to_string(stage.at("latest")).unwrap(), "one\n");
    fs::copy(stage.at("logs/a.txt"), stage.at("copied")).unwrap();
    assert_eq!(fs::read_to_string(stage.at("copied")).unwrap(), "one\n");
    for gone in ["latest", "copied"] {
        fs::remove_file(stage.at(gone)).unwrap();
    }

    // Over a name that is taken, as programs that write safely do.
    fs::write(stage.at("new"), "whole").unwrap();
    fs::rename(stage.at("new"), stage.at("other.txt")).unwrap();
    assert_eq!(fs::read_to_string(stage.at("other.txt")).unwrap(), "whole");
    fs::remove_file(stage.at("logs/a.txt")).unwrap();
    assert!(file.write_all(b"into a file without a name").is_ok());
    fs::remove_dir(stage.at("logs")).unwrap();
    assert_eq!(fs::read_dir(stage.source.path()).unwrap().count(), 2);
}

#[test]
fn a_full_disk_fails_what_needs_room_and_nothing_else() {
    const ENOSPC: i32 = 28;
    let Some(stage) = Stage::writable() else { return };
    let log = stage.at("a.log");
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
    file.write_all(b"before\n").unwrap();
    let full = stage.add("**", IoMethod::Write, VolumeEffect::Errno(ENOSPC));
    let code = |done: std::io::Result<()>| done.err().and_then(|e| e.raw_os_error());
    assert_eq!(code(file.write_all(b"lost\n")), Some(ENOSPC));
    assert_eq!(code(File::create(stage.at("new")).map(drop)), Some(ENOSPC));
    assert_eq!(code(fs::create_dir(stage.at("folder"))), Some(ENOSPC));
    assert_eq!(code(file.set_len(1 << 20)), Some(ENOSPC), "a longer file needs room");
    assert_eq!(stage.control.evidence(full).hit, 4);
    assert_eq!(fs::read_to_string(&log).unwrap(), "before\n");
    fs::OpenOptions::new().append(true).open(&log).unwrap();
    fs::rename(&log, stage.at("b.log")).unwrap();
    fs::remove_file(stage.at("other.txt")).unwrap();
    assert!(stage.control.remove(full));
    file.write_all(b"after\n").unwrap();
    assert_eq!(fs::read_to_string(stage.source.path().join("b.log")).unwrap(), "before\nafter\n");
}
