//! The disk of the power-cut and fault tests itself, by a program that writes and is killed: a test
//! that trusts it must be able to.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use posthouse_tests::disk::{Disk, Fault, Seen, Unsynced};
use posthouse_tests::house::new_folder;
use posthouse_tests::program::run_to_end;

/// Runs a script in Python on the disk until it kills itself; returns what it printed.
async fn run(disk: &Disk, folder: &Path, script: &str) -> String {
    let head = "import os, signal, errno\n\
                def new(name): return os.open(name, os.O_RDWR | os.O_CREAT, 0o600)\n\
                def sync_folder(): os.fsync(os.open('.', os.O_RDONLY))\n";
    let tail = "\nos.kill(os.getpid(), signal.SIGKILL)\n";
    let mut command = Command::new("python3");
    command.args(["-u", "-c", &format!("{head}{script}{tail}")]).current_dir(folder);
    disk.watch(&mut command);
    let (status, out, errors) = run_to_end(command).await;
    assert_eq!(status.code(), None, "it was to be killed: {status}\n{errors}");
    out
}

fn read(folder: &Path, name: &str) -> Option<String> {
    let bytes = std::fs::read(folder.join(name)).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn what_was_not_synced_is_lost() {
    let folder = new_folder();
    let path = folder.path();
    let disk = Disk::over(path);
    std::fs::write(path.join("old"), "0123456789").expect("a file");
    std::fs::write(path.join("gone"), "gone").expect("a file");
    std::fs::write(path.join("cut"), "0123456789").expect("a file");
    let script = "
old = new('old')
os.pwrite(old, b'AB', 2)
os.fdatasync(old)
os.pwrite(old, b'CD', 4)
named = new('named'); os.write(named, b'kept'); os.write(named, b'!'); os.fsync(named)
sync_folder()
os.write(named, b'lost')
unnamed = new('unnamed'); os.write(unnamed, b'data'); os.fsync(unnamed)
os.unlink('gone')
os.rename('old', 'renamed')
cut = new('cut'); os.ftruncate(cut, 3)
memory = new('x-shm'); os.write(memory, b'memory')
";
    run(&disk, path, script).await;
    assert_eq!(read(path, "renamed").as_deref(), Some("01ABCD6789"), "the kernel has it all");
    disk.cut(Unsynced::Lost, &mut fastrand::Rng::with_seed(1));
    assert_eq!(read(path, "old").as_deref(), Some("01AB456789"));
    assert_eq!(read(path, "renamed"), None);
    assert_eq!(read(path, "named").as_deref(), Some("kept!"));
    assert_eq!(read(path, "unnamed"), None, "its folder was not synced");
    assert_eq!(read(path, "gone").as_deref(), Some("gone"), "the removal was not synced");
    assert_eq!(read(path, "cut").as_deref(), Some("0123456789"));
    assert_eq!(read(path, "x-shm"), None);
}

#[tokio::test]
async fn what_was_synced_is_kept() {
    let folder = new_folder();
    let path = folder.path();
    let disk = Disk::over(path);
    std::fs::write(path.join("gone"), "gone").expect("a file");
    let script = "
one = new('one'); os.write(one, b'0123456789'); os.ftruncate(one, 2); os.pwrite(one, b'x', 4)
again = os.dup(one); os.fsync(again)
os.rename('one', 'two'); os.unlink('gone'); sync_folder()
";
    for unsynced in [Unsynced::Lost, Unsynced::ByChance] {
        run(&disk, path, if unsynced == Unsynced::Lost { script } else { "" }).await;
        disk.cut(unsynced, &mut fastrand::Rng::with_seed(1));
        assert_eq!(read(path, "two").as_deref(), Some("01\0\0x"));
        assert_eq!((read(path, "one"), read(path, "gone")), (None, None));
    }
}

#[tokio::test]
async fn chance_keeps_some_sectors_and_loses_others() {
    let mut holes = 0;
    let mut all = BTreeSet::new();
    for seed in 0..12 {
        let folder = new_folder();
        let disk = Disk::over(folder.path());
        std::fs::write(folder.path().join("file"), [b'0'; 8 * 4096]).expect("a file");
        run(&disk, folder.path(), "os.write(new('file'), b'1' * (8 * 4096))").await;
        disk.cut(Unsynced::ByChance, &mut fastrand::Rng::with_seed(seed));
        let content = read(folder.path(), "file").expect("a file");
        assert_eq!(content.len(), 8 * 4096);
        let sectors = content.as_bytes().chunks(512);
        assert!(sectors.clone().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let kept: String = sectors.map(|sector| char::from(sector[0])).collect();
        holes += usize::from(kept.contains("101"));
        all.insert(kept);
    }
    assert!(holes > 0 && all.len() > 6, "{all:?}");
}

#[tokio::test]
async fn calls_fail_as_told() {
    let folder = new_folder();
    let disk = Disk::over(folder.path());
    let script = "
file = new('file'); sync_folder()
for _ in range(5):
    try: os.write(file, b'x'); print('ok')
    except OSError as error: print(errno.errorcode[error.errno])
";
    let out = |words: &str| words.replace(' ', "\n") + "\n";
    disk.fail(Fault::Full, 3, 1);
    assert_eq!(run(&disk, folder.path(), script).await, out("ok ok ENOSPC ok ok"));
    let writes = disk.seen().writes;
    assert_eq!(disk.seen(), Seen { injected: 1, writes, syncs: 0 });
    disk.fail(Fault::Write, 0, 0);
    assert_eq!(run(&disk, folder.path(), script).await, out("EIO EIO EIO EIO EIO"));
    disk.fail(Fault::ReadOnly, 1, 0);
    assert_eq!(run(&disk, folder.path(), script).await, out("EROFS EROFS EROFS EROFS EROFS"));
    disk.mend();
    assert_eq!(run(&disk, folder.path(), script).await, out("ok ok ok ok ok"));
}

#[tokio::test]
async fn what_a_failed_sync_was_to_write_is_not_written_by_the_next() {
    let folder = new_folder();
    let disk = Disk::over(folder.path());
    std::fs::write(folder.path().join("file"), "0000").expect("a file");
    disk.fail(Fault::Sync, 1, 1);
    let script = "
file = new('file')
def sync():
    try: os.fsync(file); print('ok')
    except OSError as error: print(errno.errorcode[error.errno])
os.pwrite(file, b'1', 0); sync()
os.pwrite(file, b'1', 1); sync()
os.pwrite(file, b'1', 2); sync()
";
    assert_eq!(run(&disk, folder.path(), script).await, "ok\nEIO\nok\n");
    disk.cut(Unsynced::Lost, &mut fastrand::Rng::with_seed(1));
    assert_eq!(read(folder.path(), "file").as_deref(), Some("1010"));
}
