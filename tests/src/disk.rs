//! A disk that can be cut from its power, and one that fails: what a test says to `shim/disk.c`,
//! which stands below the program.
//!
//! [`Disk::over`] a folder, [`Disk::watch`] the program, kill it, [`Disk::cut`]: the folder is then
//! what a disk might hold that lost its power at the kill. Every write that was not followed by an
//! fsync of its file is lost, or kept by chance, whole or in part; so is every new, removed or
//! renamed name whose folder was not synced.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// The page that is shared with the shim: so many 64-bit numbers.
const CONTROLS: u64 = 6;

/// What becomes of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of it is lost.
    Lost,
    /// Each sector by itself is lost or kept, by chance: disks write in any order.
    ByChance,
}

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Fault {
    /// Writes: no room is left.
    Full = 1,
    /// Writes: the disk failed.
    Write = 2,
    /// fsync: the disk failed, and what was to be written is lost.
    Sync = 4,
    /// Everything that would change something.
    ReadOnly = 8,
    /// fsync: says that it was done, and was not. What a program that does not sync comes to.
    Unsynced = 16,
}

/// What the shim has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Calls that failed as told.
    pub injected: u64,
    /// Writes.
    pub writes: u64,
    /// Fsyncs of files.
    pub syncs: u64,
}

/// A folder as if it were a disk of its own.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    side: TempDir,
    control: File,
}

impl Disk {
    /// Takes a folder; what is in it when a program starts is on the disk.
    #[must_use]
    pub fn over(folder: &Path) -> Self {
        let folder = folder.canonicalize().expect("the folder is there");
        let side = crate::house::new_folder();
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let control = options.open(side.path().join("control")).expect("a control file");
        control.set_len(CONTROLS * 8).expect("a control page");
        Self { folder, side, control }
    }

    /// Has a program write through this disk.
    pub fn watch(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", shim())
            .env("POSTHOUSE_DISK_FOLDER", &self.folder)
            .env("POSTHOUSE_DISK_SIDE", self.side.path());
    }

    /// Makes calls fail: `after` of them succeed first, then `count` fail, or all with 0.
    pub fn fail(&self, fault: Fault, after: u64, count: u64) {
        self.set(1, after);
        self.set(2, count);
        self.set(0, fault as u64);
    }

    /// Makes no call fail any more.
    pub fn mend(&self) {
        self.set(0, 0);
    }

    /// What was seen since the disk was made.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { injected: self.get(3), writes: self.get(4), syncs: self.get(5) }
    }

    /// Cuts the power: call it once the program was killed.
    pub fn cut(&self, unsynced: Unsynced, random: &mut fastrand::Rng) {
        let names = std::fs::read_to_string(self.side.path().join("names"));
        let names = names.expect("the program ran with the shim");
        let Names { live, kept } = replay(&names, unsynced, random);
        let image = |id: u32| std::fs::read(self.side.path().join(format!("image-{id}")));
        let mut found = BTreeMap::new();
        for (path, id) in &kept {
            let durable = image(*id).expect("an image");
            let now = live.iter().find(|(_, other)| *other == id);
            let now = now.map(|(path, _)| std::fs::read(path).expect("a file that is there"));
            let content = match (now, unsynced) {
                (Some(now), Unsynced::ByChance) => mixed(&durable, &now, random),
                _ => durable,
            };
            found.insert(path, content);
        }
        for path in live.keys().filter(|path| !found.contains_key(path)) {
            std::fs::remove_file(path).expect("a file that is there");
        }
        for (path, content) in found {
            std::fs::write(path, content).expect("a file");
        }
        remove_shared_memory(&self.folder);
        let images = std::fs::read_dir(self.side.path()).expect("the side folder");
        let images = images.map(|entry| entry.expect("an entry").path());
        for path in images.filter(|path| !path.ends_with("control")) {
            std::fs::remove_file(path).expect("an image");
        }
    }

    fn set(&self, place: u64, value: u64) {
        self.control.write_all_at(&value.to_ne_bytes(), place * 8).expect("the control page");
    }

    fn get(&self, place: u64) -> u64 {
        let mut value = [0; 8];
        self.control.read_exact_at(&mut value, place * 8).expect("the control page");
        u64::from_ne_bytes(value)
    }
}

/// A file system in memory with little room; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// One of so many MiB; `None` when this user may not mount one.
    #[must_use]
    pub fn mount(mib: u32) -> Option<Self> {
        let folder = crate::house::new_folder();
        let mut mount = Command::new("mount");
        let size = format!("size={mib}m");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        mount.output().ok()?.status.success().then_some(Self { folder })
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it until so many bytes are left.
    pub fn fill(&self, left: u64) {
        let about = rustix::fs::statvfs(self.folder()).expect("a file system");
        let free = about.f_bavail * about.f_frsize;
        let length = usize::try_from(free.saturating_sub(left)).expect("a small disk");
        // What others write at the same time may be in the way of the last of it.
        let _full = std::fs::write(self.ballast(), vec![1; length]);
    }

    /// Takes away what filled it.
    pub fn make_room(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.folder().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it ends.
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.folder()).output();
    }
}

/// Which file is under which name: as the program saw it, and as the disk has it.
#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<PathBuf, u32>,
    kept: BTreeMap<PathBuf, u32>,
}

/// Goes through the shim's list. A change of a name is on the disk once its folder was synced; of
/// those that were not, some of the first may be too, since file systems keep their order.
fn replay(list: &str, unsynced: Unsynced, random: &mut fastrand::Rng) -> Names {
    let mut names = Names::default();
    let mut waiting: Vec<Vec<&str>> = Vec::new();
    // A line that the kill cut short was of a call that had not come back.
    for line in list.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split('\t').collect();
        match words[..] {
            ["S", folder] => {
                let (synced, others) = waiting.into_iter().partition(|change| {
                    Path::new(path_of(change)).parent() == Some(folder.as_ref())
                });
                waiting = others;
                let synced: Vec<Vec<&str>> = synced;
                synced.iter().for_each(|change| apply(&mut names.kept, change));
            }
            _ => {
                apply(&mut names.live, &words);
                if words[0] == "N" {
                    apply(&mut names.kept, &words);
                } else {
                    waiting.push(words);
                }
            }
        }
    }
    let chance = match unsynced {
        Unsynced::Lost => 0,
        Unsynced::ByChance => random.usize(..=waiting.len()),
    };
    waiting[..chance].iter().for_each(|change| apply(&mut names.kept, change));
    names
}

fn path_of<'a>(change: &[&'a str]) -> &'a str {
    if change[0] == "U" || change[0] == "R" { change[1] } else { change[2] }
}

fn apply(names: &mut BTreeMap<PathBuf, u32>, change: &[&str]) {
    match *change {
        ["N" | "C", id, path] => {
            names.insert(path.into(), id.parse().expect("a number"));
        }
        ["U", path] => {
            names.remove(Path::new(path));
        }
        ["R", from, to] => {
            if let Some(id) = names.remove(Path::new(from)) {
                names.insert(to.into(), id);
            }
        }
        _ => panic!("the shim says {change:?}"),
    }
}

/// A file of which some sectors are as the disk had them and some as the program wrote them.
fn mixed(durable: &[u8], now: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let sector = if random.bool() { 512 } else { 4096 };
    // From almost nothing to almost all, so that tails as well as single holes come up.
    let kept = random.f64();
    let length = if random.bool() { durable.len() } else { now.len() };
    let mut content = durable.to_vec();
    content.resize(length, 0);
    for from in (0..length.min(now.len())).step_by(sector) {
        let to = (from + sector).min(length).min(now.len());
        if random.f64() < kept {
            content[from..to].copy_from_slice(&now[from..to]);
        }
    }
    content
}

/// Memory does not outlive the power.
fn remove_shared_memory(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            remove_shared_memory(&path);
        } else if path.to_string_lossy().ends_with("-shm") {
            std::fs::remove_file(path).expect("a file that is there");
        }
    }
}

/// The shim, compiled once for each version of its source.
fn shim() -> PathBuf {
    let source = crate::workspace().join("tests/shim/disk.c");
    let mut hasher = DefaultHasher::new();
    std::fs::read(&source).expect("the shim's source").hash(&mut hasher);
    let folder = crate::target().join("shim");
    let library = folder.join(format!("disk-{:016x}.so", hasher.finish()));
    if !library.exists() {
        std::fs::create_dir_all(&folder).expect("a folder");
        // Other tests may compile it at the same time.
        let own = tempfile::tempdir_in(&folder).expect("a folder");
        let new = own.path().join("disk.so");
        let mut compile = Command::new("cc");
        compile.args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&new).arg(source);
        assert!(compile.status().expect("a C compiler: `cc`").success(), "the shim is sound C");
        std::fs::rename(&new, &library).expect("the shim");
    }
    library
}
