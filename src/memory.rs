//! The memory that this process may still allocate. It is limited by the machine, by process limits (`ulimit`), or by a container.
//!
//! A failed allocation aborts the process, and exceeding the limit of a container kills it. Both are predicted here, and reported as
//! errors instead. Linux publishes the limits in files. On other systems nothing is checked.

use crate::error::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

/// Address space per thread, in bytes: its stack and its arena in the allocator.
const THREAD: u64 = 66 << 20;
/// Memory that a thread needs at its start, in bytes: its stack, its signal stack, and bookkeeping of the system.
const STACKS: u64 = 3 << 20;
/// Overhead of the allocator and of page tables, (d, b): 1/d of the available memory plus b bytes.
const ROUNDING: (u64, u64) = (32, 2 << 20);

/// A limit on the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The free memory of the machine.
    Machine,
    /// The address space (RLIMIT_AS).
    AddressSpace,
    /// The data segment (RLIMIT_DATA).
    Data,
    /// A control group.
    Container,
}

impl Limit {
    /// The name of the limit in a message.
    fn holder(self) -> &'static str {
        match self {
            Limit::Machine => "this machine's free memory",
            Limit::AddressSpace => "the address space this process may have (ulimit -v)",
            Limit::Data => "the data this process may have (ulimit -d)",
            Limit::Container => "this container's memory (cgroup)",
        }
    }

    /// Advice to raise the limit, which continues a message.
    fn advice(self) -> &'static str {
        match self {
            Limit::Machine => "",
            Limit::AddressSpace => ", or raise the limit (ulimit -v; on a cluster, request more memory for the job)",
            Limit::Data => ", or raise the limit (ulimit -d)",
            Limit::Container => ", or give the container or the job more memory",
        }
    }
}

/// The memory that can still be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes.
    pub(crate) bytes: u64,
    /// The limit that determines it.
    pub(crate) limit: Limit,
}

impl Room {
    /// The room of this process; `None` where the system does not report it.
    pub(crate) fn now() -> Option<Room> {
        Room::least(Path::new("/"))
    }

    /// The smallest room according to the files in `proc` and `sys` under `root`.
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

/// Checks that `needed` bytes can be allocated.
///
/// # Errors
/// [`Error::Limit`], which names the limit.
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

/// The address space that this process may still allocate, in bytes; `None` if it is unlimited.
pub(crate) fn address_space() -> Option<u64> {
    process(Path::new("/"), Limit::AddressSpace)
}

/// The smaller of the remaining address space and the remaining data segment, in bytes; `None` if both are unlimited.
pub(crate) fn own_room() -> Option<u64> {
    let limits = [Limit::AddressSpace, Limit::Data];
    limits.into_iter().filter_map(|limit| process(Path::new("/"), limit)).min()
}

/// The limit on the stack size (RLIMIT_STACK), in bytes; `None` if it is unlimited.
pub(crate) fn stack() -> Option<u64> {
    number(&read(Path::new("/proc/self/limits"))?, "Max stack size")
}

/// The number of threads to start: `wanted`, or fewer if a limited address space would otherwise keep less than three quarters free.
pub(crate) fn threads(wanted: usize) -> usize {
    address_space().map_or(wanted, |bytes| fitting(wanted, bytes))
}

/// The error for threads that could not be started.
pub(crate) fn no_threads(threads: usize, error: &std::io::Error) -> Error {
    let room = check(|| format!("starting {threads} threads"), threads as u64 * THREAD, "choose fewer --threads");
    room.err().unwrap_or_else(|| Error::usage(format!("cannot start {threads} threads: {error}")))
}

/// Starts a thread. The runtime aborts the process if there is no memory for the signal stack of a new thread, so that the memory for
/// both stacks is checked first.
///
/// # Errors
/// When the system refuses a thread, or there is no memory for its stacks.
pub fn start<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    room_for_a_thread()?;
    Builder::new().name(name.into()).spawn(work)
}

fn room_for_a_thread() -> io::Result<()> {
    match Room::now() {
        Some(room) if room.bytes < STACKS => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("no memory for the stack of a thread: {}", room.limit.holder()),
        )),
        _ => Ok(()),
    }
}

/// The number of threads that fit. The caller's thread already exists and always fits.
fn fitting(wanted: usize, bytes: u64) -> usize {
    wanted.min(1 + (bytes / 4 / THREAD) as usize)
}

/// Runs `work` on `threads` threads at once, the caller's among them, or on fewer if the system refuses more.
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

/// Reads a system file; `None` if it is missing.
fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The integer that follows `name` in the line that starts with `name`.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest =
        text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '\t', ':'])))?;
    rest.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

/// The memory available without swapping, in bytes.
fn machine(root: &Path) -> Option<u64> {
    number(&read(&root.join("proc/meminfo"))?, "MemAvailable").map(|kib| kib * 1024)
}

/// The bytes that a limit of the process leaves.
fn process(root: &Path, limit: Limit) -> Option<u64> {
    let (name, taken) = match limit {
        Limit::AddressSpace => ("Max address space", "VmSize"),
        Limit::Data => ("Max data size", "VmData"),
        Limit::Machine | Limit::Container => return None,
    };
    // "unlimited" does not parse as an integer, so that the result is `None`.
    let most = number(&read(&root.join("proc/self/limits"))?, name)?;
    let taken = number(&read(&root.join("proc/self/status"))?, taken)? * 1024;
    Some(most.saturating_sub(taken))
}

/// The file names of a cgroup version: limits, usage, and the reclaimable part of the usage.
struct Files {
    limits: &'static [&'static str],
    used: &'static str,
    reclaimable: &'static str,
}

const VERSION_1: Files =
    Files { limits: &["memory.limit_in_bytes"], used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
const VERSION_2: Files =
    Files { limits: &["memory.max", "memory.high"], used: "memory.current", reclaimable: "inactive_file" };

/// The bytes that the control groups of the process leave, ancestors included.
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

/// If a line of mountinfo mounts the hierarchy of `group`, its mount point and the path of the group below it.
fn mounted(line: &str, version_1: bool, group: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (shown, top) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let mut system = system.split(' ');
    let (kind, options) = (system.next()?, system.nth(1)?);
    let wanted =
        if version_1 { kind == "cgroup" && options.split(',').any(|o| o == "memory") } else { kind == "cgroup2" };
    // A container may see only a part of the hierarchy, with its own group as the root.
    let inner = Path::new(group).strip_prefix(&shown).unwrap_or(Path::new(""));
    let plain = inner.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    wanted.then(|| (PathBuf::from(top), if plain { inner.to_owned() } else { PathBuf::new() }))
}

/// Decodes a path of mountinfo, which escapes white space and backslashes in octal.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (octal, plain)| path.replace(octal, plain))
}

/// The bytes that one control group leaves; `None` if it has no limit.
fn group_left(dir: &Path, files: &Files) -> Option<u64> {
    let value = |name: &str| read(&dir.join(name))?.trim().parse::<u64>().ok();
    let most = files.limits.iter().filter_map(|name| value(name)).min()?;
    let cache = read(&dir.join("memory.stat")).and_then(|stat| number(&stat, files.reclaimable)).unwrap_or(0);
    Some(most.saturating_sub(value(files.used)?.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A folder with these files, in place of the system's root.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, text).expect("a file");
        }
        root
    }

    /// The room after the overhead is subtracted.
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
    fn without_files_the_room_is_unknown() {
        assert_eq!(Room::least(tree(&[]).path()), None);
        assert_eq!(Room::least(tree(&[("proc/meminfo", "MemTotal: 5 kB\n")]).path()), None);
    }

    #[test]
    fn the_room_is_the_smallest_of_machine_and_process_limits() {
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
        // The usage may exceed a limit that was set later.
        assert_eq!(least("1000", "unlimited"), Some(Room { bytes: 0, limit: Limit::AddressSpace }));
    }

    const MOUNTS_2: (&str, &str) = (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
         31 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
    );

    #[test]
    fn a_version_2_group_and_its_ancestors_limit_the_room() {
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
        // An ancestor that leaves less.
        let above = [("sys/fs/cgroup/jobs/memory.max", one.as_str()), ("sys/fs/cgroup/jobs/memory.current", &one)];
        assert_eq!(room(&[&own[..], &above].concat()).map(|room| room.bytes), Some(0));
        // The lower of the two limits counts.
        let high = [
            ("sys/fs/cgroup/jobs/one.slice/memory.max", two.as_str()),
            ("sys/fs/cgroup/jobs/one.slice/memory.high", &one),
            ("sys/fs/cgroup/jobs/one.slice/memory.current", &six),
        ];
        assert_eq!(room(&high).map(|room| room.bytes), Some(rounded(424 * MIB)));
        // No limit at all.
        let none = [("sys/fs/cgroup/jobs/memory.max", "max\n"), ("sys/fs/cgroup/jobs/memory.current", "5\n")];
        assert_eq!(room(&none).map(|room| room.limit), Some(Limit::Machine));
    }

    #[test]
    fn a_version_1_group_as_seen_in_a_container_limits_the_room() {
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
        // The path as seen by the host, as seen in a namespace, and outside of the mount.
        for group in ["/docker/abc", "/", "/docker/abc/../other"] {
            let groups = format!("9:name=systemd:/\n4:cpu,memory:{group}\n0::/\n");
            let tree = tree(&[&files[..], &[("proc/self/cgroup", &groups)]].concat());
            assert_eq!(Room::least(tree.path()), expected, "{group}");
        }
    }

    #[test]
    fn a_refusal_names_the_limit_and_rounds_need_up_and_room_down() {
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
    fn threads_leave_most_of_the_address_space_free() {
        assert_eq!([0, 400, 600, 20_000].map(|mib| fitting(64, mib * MIB)), [1, 2, 3, 64]);
        let count = std::sync::atomic::AtomicUsize::new(0);
        on_threads(3, || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3);
    }
}
