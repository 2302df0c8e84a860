//! How much memory this process may still take, and what limits it: the machine, its own limits (`ulimit`), or its container.
//!
//! An allocation that fails ends the process, and one too many in a container has it killed: both are foreseen here, and refused.
//! Linux tells all of it in files; other systems are not asked, and nothing is refused there.

use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

/// Address space of a thread, in bytes: its stack, and the arena that its allocator keeps for it.
const THREAD: u64 = 66 << 20;
/// What a thread takes at its start in any case, in bytes: its stack, the one for signals, and what the system keeps of it.
const STACKS: u64 = 3 << 20;
/// What the allocator's rounding and page tables take of a room, as its part and in bytes.
const ROUNDING: (u64, u64) = (32, 2 << 20);

/// What limits the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// What the machine has free.
    Machine,
    /// Its address space (RLIMIT_AS).
    AddressSpace,
    /// Its data (RLIMIT_DATA).
    Data,
    /// A control group of it.
    Container,
}

impl Limit {
    /// What offers the memory, in a message.
    fn holder(self) -> &'static str {
        match self {
            Limit::Machine => "this machine's free memory",
            Limit::AddressSpace => "the address space this process may have (ulimit -v)",
            Limit::Data => "the data this process may have (ulimit -d)",
            Limit::Container => "this container's memory (cgroup)",
        }
    }

    /// What else a user can do.
    fn advice(self) -> &'static str {
        match self {
            Limit::Machine => "",
            Limit::AddressSpace => ", or raise the limit (ulimit -v; a cluster's job asks for memory)",
            Limit::Data => ", or raise the limit (ulimit -d)",
            Limit::Container => ", or give the container or the job more memory",
        }
    }
}

/// Memory that can still be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes.
    pub(crate) bytes: u64,
    /// What there is no more of.
    pub(crate) limit: Limit,
}

impl Room {
    /// Of this process, where the system tells.
    pub(crate) fn now() -> Option<Room> {
        Room::least(Path::new("/"))
    }

    /// The least of what a tree with `proc` and `sys` says.
    fn least(root: &Path) -> Option<Room> {
        let free = machine(root).map(|bytes| Room { bytes, limit: Limit::Machine });
        let own =
            [Limit::AddressSpace, Limit::Data].map(|limit| process(root, limit).map(|bytes| Room { bytes, limit }));
        let of_group = container(root).map(|bytes| Room { bytes, limit: Limit::Container });
        let limited = own.into_iter().chain([of_group]).flatten().map(|room| {
            let (part, bytes) = ROUNDING;
            Room { bytes: (room.bytes - room.bytes / part).saturating_sub(bytes), ..room }
        });
        free.into_iter().chain(limited).min_by_key(|room| room.bytes)
    }
}

/// Refuses what needs more bytes than can be taken.
///
/// # Errors
/// [`Error::Limit`], which names what limits it.
pub(crate) fn check(what: impl FnOnce() -> String, needed: u64, advice: &str) -> Result<()> {
    match Room::now() {
        Some(room) if needed > room.bytes => Err(refusal(what(), needed, room, advice)),
        _ => Ok(()),
    }
}

fn refusal(what: String, needed: u64, room: Room, advice: &str) -> Error {
    Error::Limit {
        what,
        needed: needed.div_ceil(1 << 20),
        available: room.bytes >> 20,
        unit: "MiB",
        holder: room.limit.holder().into(),
        advice: format!("{advice}{}", room.limit.advice()),
    }
}

/// Address space that this process may still take, in bytes, where that is limited.
pub(crate) fn address_space() -> Option<u64> {
    process(Path::new("/"), Limit::AddressSpace)
}

/// The same of its data, too.
pub(crate) fn own_room() -> Option<u64> {
    let limits = [Limit::AddressSpace, Limit::Data];
    limits.into_iter().filter_map(|limit| process(Path::new("/"), limit)).min()
}

/// Bytes of stack that a thread has unless it asks for another size, where that is limited.
pub(crate) fn stack() -> Option<u64> {
    number(&read(Path::new("/proc/self/limits"))?, "Max stack size")
}

/// As many threads as were wanted, or as leave three quarters of the address space to others, where that is limited.
pub(crate) fn threads(wanted: usize) -> usize {
    address_space().map_or(wanted, |bytes| fitting(wanted, bytes))
}

/// Why so many threads could not be started.
pub(crate) fn no_threads(threads: usize, error: &std::io::Error) -> Error {
    let room = check(|| format!("starting {threads} threads"), threads as u64 * THREAD, "choose fewer --threads");
    room.err().unwrap_or_else(|| Error::usage(format!("cannot start {threads} threads: {error}")))
}

/// Starts a thread, or says why there is none. The runtime ends the process where a thread finds no memory for its second stack, the one
/// for signals: room for both is looked for first.
///
/// # Errors
/// Where the system gives no thread, or has no memory for its stacks.
pub fn start<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    room_for_a_thread()?;
    Builder::new().name(name.into()).spawn(work)
}

fn room_for_a_thread() -> io::Result<()> {
    match Room::now() {
        Some(room) if room.bytes < STACKS => {
            Err(io::Error::new(io::ErrorKind::OutOfMemory, format!("no memory for its stack: {}", room.limit.holder())))
        }
        _ => Ok(()),
    }
}

/// The caller's thread is there already.
fn fitting(wanted: usize, bytes: u64) -> usize {
    wanted.min(1 + (bytes / 4 / THREAD) as usize)
}

/// Does `work` on so many threads at once, the caller's among them: on fewer where the system gives no more.
pub fn on_threads(threads: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 1..threads {
            if room_for_a_thread().is_err() || Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        work();
    });
}

/// A file of the system, if it is there.
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The number after a name, of the line that begins with it.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest =
        text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t', ':'])))?;
    rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// Bytes that the machine can give without swapping.
fn machine(root: &Path) -> Option<u64> {
    number(&read(&root.join("proc/meminfo"))?, "MemAvailable").map(|kib| kib * 1024)
}

/// Bytes that the process's own limit leaves.
fn process(root: &Path, limit: Limit) -> Option<u64> {
    let (name, taken) = match limit {
        Limit::AddressSpace => ("Max address space", "VmSize"),
        Limit::Data => ("Max data size", "VmData"),
        Limit::Machine | Limit::Container => return None,
    };
    // "unlimited" is no number.
    let most = number(&read(&root.join("proc/self/limits"))?, name)?;
    let taken = number(&read(&root.join("proc/self/status"))?, taken)? * 1024;
    Some(most.saturating_sub(taken))
}

/// The names of a version's files: limits, use, and what of the use can be taken back.
struct Files {
    limits: &'static [&'static str],
    used: &'static str,
    reclaimable: &'static str,
}

const VERSION_1: Files =
    Files { limits: &["memory.limit_in_bytes"], used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
const VERSION_2: Files =
    Files { limits: &["memory.max", "memory.high"], used: "memory.current", reclaimable: "inactive_file" };

/// Bytes that the process's control groups leave, its own and those above.
fn container(root: &Path) -> Option<u64> {
    let groups = read(&root.join("proc/self/cgroup"))?;
    let mounts = read(&root.join("proc/self/mountinfo"))?;
    let left = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?);
        let version_1 = controllers.split(',').any(|c| c == "memory");
        if !version_1 && !controllers.is_empty() {
            return None;
        }
        let (top, inner) = mounts.lines().find_map(|mount| mounted(mount, version_1, group))?;
        let files = if version_1 { VERSION_1 } else { VERSION_2 };
        let top = root.join(top.strip_prefix("/").unwrap_or(&top));
        let own = top.join(inner);
        own.ancestors().take_while(|dir| dir.starts_with(&top)).filter_map(|dir| group_left(dir, &files)).min()
    });
    left.min()
}

/// Where a hierarchy is mounted, and the path in it of a group: of a line of mountinfo, if it mounts that hierarchy.
fn mounted(line: &str, version_1: bool, group: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (shown, top) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let mut system = system.split(' ');
    let (kind, options) = (system.next()?, system.nth(1)?);
    let wanted =
        if version_1 { kind == "cgroup" && options.split(',').any(|o| o == "memory") } else { kind == "cgroup2" };
    // A container may be shown a part of the hierarchy, of which its own group is the top.
    let inner = Path::new(group).strip_prefix(&shown).unwrap_or(Path::new(""));
    let plain = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    wanted.then(|| (PathBuf::from(top), if plain { inner.to_owned() } else { PathBuf::new() }))
}

/// A path of mountinfo, which writes blanks and backslashes in octal.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (octal, plain)| path.replace(octal, plain))
}

/// Bytes that one group leaves, if it is limited.
fn group_left(dir: &Path, files: &Files) -> Option<u64> {
    let figure = |name: &str| read(&dir.join(name))?.trim().parse::<u64>().ok();
    let most = files.limits.iter().filter_map(|name| figure(name)).min()?;
    let cache = read(&dir.join("memory.stat")).and_then(|stat| number(&stat, files.reclaimable)).unwrap_or(0);
    Some(most.saturating_sub(figure(files.used)?.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A tree of files that the system might show.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        root
    }

    /// What is left of a room after rounding.
    fn rounded(bytes: u64) -> u64 {
        bytes - bytes / ROUNDING.0 - ROUNDING.1
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:       24684092 kB\nMemFree:  9 kB\nMemAvailable:    4194304 kB\n");
    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tzilch\nVmSize:\t  102400 kB\nVmData:\t   51200 kB\n");

    fn limits(space: &str, data: &str) -> String {
        format!(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max data size             {data:<20} unlimited            bytes     \n\
             Max address space         {space:<20} unlimited            bytes     \n"
        )
    }

    #[test]
    fn nothing_is_known_where_there_are_no_files() {
        assert_eq!(Room::least(tree(&[]).path()), None);
        assert_eq!(Room::least(tree(&[("proc/meminfo", "MemTotal: 5 kB\n")]).path()), None);
    }

    #[test]
    fn the_least_of_the_machine_and_of_the_limits_of_the_process() {
        let least = |space: &str, data: &str| {
            let limits = limits(space, data);
            Room::least(tree(&[MEMINFO, STATUS, ("proc/self/limits", &limits)]).path())
        };
        let gib = |n: u64| (n * 1024 * MIB).to_string();
        assert_eq!(least("unlimited", "unlimited"), Some(Room { bytes: 4096 * MIB, limit: Limit::Machine }));
        assert_eq!(least(&gib(64), &gib(64)), Some(Room { bytes: 4096 * MIB, limit: Limit::Machine }));
        let space = Room { bytes: rounded(924 * MIB), limit: Limit::AddressSpace };
        assert_eq!(least(&gib(1), &gib(2)), Some(space));
        let data = Room { bytes: rounded(974 * MIB), limit: Limit::Data };
        assert_eq!(least(&gib(2), &gib(1)), Some(data));
        // What is taken may be more than a limit that was set later.
        assert_eq!(least("1000", "unlimited"), Some(Room { bytes: 0, limit: Limit::AddressSpace }));
    }

    const MOUNTS_2: (&str, &str) = (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
         31 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    );

    #[test]
    fn a_group_of_version_2_and_those_above_it() {
        let room = |files: &[(&str, &str)]| {
            let own = [MEMINFO, MOUNTS_2, ("proc/self/cgroup", "0::/jobs/one.slice\n")];
            Room::least(tree(&[&own[..], files].concat()).path())
        };
        let text = |mib: u64| format!("{}\n", mib * MIB);
        let (one, two, six) = (text(1024), text(2048), text(600));
        let stat = format!("anon 5\nactive_file 7\ninactive_file {}\n", 100 * MIB);
        let own = [
            ("sys/fs/cgroup/jobs/one.slice/memory.max", one.as_str()),
            ("sys/fs/cgroup/jobs/one.slice/memory.high", "max\n"),
            ("sys/fs/cgroup/jobs/one.slice/memory.current", &six),
            ("sys/fs/cgroup/jobs/one.slice/memory.stat", &stat),
        ];
        assert_eq!(room(&own), Some(Room { bytes: rounded(524 * MIB), limit: Limit::Container }));
        // One above that leaves less.
        let above = [("sys/fs/cgroup/jobs/memory.max", one.as_str()), ("sys/fs/cgroup/jobs/memory.current", &one)];
        assert_eq!(room(&[&own[..], &above].concat()).map(|room| room.bytes), Some(0));
        // The lower of its two limits.
        let high = [
            ("sys/fs/cgroup/jobs/one.slice/memory.max", two.as_str()),
            ("sys/fs/cgroup/jobs/one.slice/memory.high", &one),
            ("sys/fs/cgroup/jobs/one.slice/memory.current", &six),
        ];
        assert_eq!(room(&high).map(|room| room.bytes), Some(rounded(424 * MIB)));
        // None at all.
        let none = [("sys/fs/cgroup/jobs/memory.max", "max\n"), ("sys/fs/cgroup/jobs/memory.current", "5\n")];
        assert_eq!(room(&none).map(|room| room.limit), Some(Limit::Machine));
    }

    #[test]
    fn a_group_of_version_1_as_a_container_is_shown_it() {
        let mounts = "40 30 0:32 /docker/abc /sys/fs/cgroup/my\\040memory ro - cgroup cgroup rw,memory\n\
                      41 30 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let (most, used) = ((512 * MIB).to_string(), (300 * MIB).to_string());
        let stat = format!("inactive_file 1\ntotal_inactive_file {}\n", 50 * MIB);
        let files = [
            MEMINFO,
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/my memory/memory.limit_in_bytes", &most),
            ("sys/fs/cgroup/my memory/memory.usage_in_bytes", &used),
            ("sys/fs/cgroup/my memory/memory.stat", &stat),
        ];
        let expected = Some(Room { bytes: rounded(262 * MIB), limit: Limit::Container });
        // Its path as the host has it, as a namespace has it, and outside of what is mounted.
        for group in ["/docker/abc", "/", "/docker/abc/../other"] {
            let groups = format!("9:name=systemd:/\n4:cpu,memory:{group}\n0::/\n");
            let tree = tree(&[&files[..], &[("proc/self/cgroup", &groups)]].concat());
            assert_eq!(Room::least(tree.path()), expected, "{group}");
        }
    }

    #[test]
    fn a_refusal_names_what_limits_and_rounds_apart() {
        let room = Room { bytes: 5 * MIB + 1, limit: Limit::AddressSpace };
        let error = refusal("this".into(), 5 * MIB + 2, room, "take less");
        let text = error.to_string();
        assert!(
            text.starts_with("this needs 6 MiB, but the address space this process may have (ulimit -v) offers 5 MiB")
        );
        assert!(text.contains("take less, or raise the limit"), "{text}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn threads_leave_most_of_the_address_space() {
        assert_eq!([0, 400, 600, 20_000].map(|mib| fitting(64, mib * MIB)), [1, 2, 3, 64]);
        let count = std::sync::atomic::AtomicUsize::new(0);
        on_threads(3, || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3);
    }
}
