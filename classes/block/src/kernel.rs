//! The kernel's own client: a block device `/dev/nbdN`, connected to the server by a pair of sockets, without a socket
//! that listens.
//!
//! **Why it is not somebody's crate.** Looked at were `nbd-netlink` 0.3.0 (the same requests, over `neli` 0.6 and
//! `anyhow`: why the kernel refused is text) and `nbd-async` 0.6.0 (tokio, and by ioctl, which needs a thread that
//! waits in the kernel and loses the device when a signal wakes that, SIGSTOP and a machine that sleeps too).
//!
//! **What keeps it from a deadlock.** The kernel may write to the device in order to have memory, and what asks for
//! memory then may be this process. So it has its memory in RAM, and asks for more without waiting for any disk
//! ([`prepare`]); what remains is in docs/block.md.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::netlink::{Disk, Nbd};

/// The major number of network block devices (Linux, Documentation/admin-guide/devices.txt).
const MAJOR: u32 = 43;
/// The longest block that the kernel takes: its page.
const PAGE_BYTES: u64 = 4096;
/// The kernel never ends a process with this to have memory (Linux, Documentation/filesystems/proc.rst, 3.1).
const OOM_NEVER: &str = "-1000";

/// Why a disk cannot be attached to a block device of the kernel, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel has no such devices.
    #[error(
        "this kernel has no network block devices, or they are not loaded: `modprobe nbd` loads them, where the kernel \
         was built with CONFIG_BLK_DEV_NBD; without them serve the disk with --nbd"
    )]
    NoModule,
    /// The path leads to something else.
    #[error("{} {what}: name a network block device, such as /dev/nbd0", path.display())]
    NotOne {
        /// The path.
        path: PathBuf,
        /// What is there.
        what: String,
    },
    /// It serves another.
    #[error(
        "{} is in use, set up by process {by}: name another, or have that one end; if it has ended without detaching it, \
         `nbd-client -d {}` does", path.display(), path.display()
    )]
    Busy {
        /// The device.
        path: PathBuf,
        /// Process id, as the kernel tells it.
        by: String,
    },
    /// A right is missing.
    #[error("{} needs {right}, which this process does not have: start it as root", what)]
    Rights {
        /// What was tried.
        what: String,
        /// The capability.
        right: &'static str,
    },
    /// Anything else.
    #[error("{what}: {source}")]
    Other {
        /// What was tried.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl From<AttachError> for io::Error {
    fn from(error: AttachError) -> Self {
        io::Error::other(error)
    }
}

/// A network block device of the kernel's, free when it was looked at.
#[derive(Debug)]
pub struct KernelDevice {
    path: PathBuf,
    /// The N of `/dev/nbdN`.
    index: u32,
    /// Whose the kernel says that it is, from when it has a socket of ours.
    owner: Option<String>,
    leaving: Option<JoinHandle<Left>>,
}

/// What came of writing back what was cached, and of disconnecting.
type Left = (Result<(), AttachError>, Result<(), AttachError>);

impl KernelDevice {
    /// Looks whether the device can be used. Nothing is changed.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub fn find(path: &Path) -> Result<Self, AttachError> {
        find_family(path)?;
        let index = index(path)?;
        let path = path.to_owned();
        let device = KernelDevice { path, index, owner: None, leaving: None };
        if let Some(by) = owner(index) {
            return Err(device.busy(&by));
        }
        // Later the kernel asks for more than this; without the right to open it no driver is started.
        fs::File::open(&device.path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => device.rights(),
            _ => AttachError::Other { what: format!("opening {}", device.path.display()), source },
        })?;
        Ok(device)
    }

    /// Returns where it is.
    pub fn name(&self) -> &str {
        self.path.to_str().unwrap_or("/dev/nbd")
    }

    fn busy(&self, by: &str) -> AttachError {
        AttachError::Busy { path: self.path.clone(), by: by.to_owned() }
    }

    fn rights(&self) -> AttachError {
        AttachError::Rights { what: format!("attaching a disk to {}", self.path.display()), right: "CAP_SYS_ADMIN" }
    }

    /// Has the kernel connect it to a socket, and returns that one's other end.
    pub(crate) fn connect(&mut self, disk: &Disk) -> Result<OwnedFd, AttachError> {
        let other = |source: Errno| AttachError::Other {
            what: format!("attaching a disk of {} bytes to {}", disk.bytes, self.path.display()),
            source: source.into(),
        };
        if disk.block_bytes > PAGE_BYTES {
            let what = format!("cannot have blocks of {} bytes, only up to {PAGE_BYTES}", disk.block_bytes);
            return Err(AttachError::NotOne { path: self.path.clone(), what });
        }
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(other)?;
        let mut nbd = find_family(&self.path)?;
        match nbd.connect(self.index, disk, theirs.as_fd()) {
            Ok(()) => {}
            Err(Errno::PERM) => return Err(self.rights()),
            Err(Errno::BUSY) => {
                return Err(self.busy(owner(self.index).as_deref().unwrap_or("unknown")));
            }
            Err(error) => return Err(other(error)),
        }
        self.owner = Some(owner(self.index).unwrap_or_default());
        Ok(ours)
    }

    /// Begins to detach it, while the server goes on: what the kernel has cached of it is written, and then it is
    /// disconnected. What is still mounted has no disk afterwards; that is logged.
    pub(crate) fn begin_to_leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let Some(ours) = self.owner.clone() else { return };
        if owner(self.index).as_ref() != Some(&ours) {
            // Somebody else detached it, and it may be somebody else's by now.
            self.owner = None;
            return;
        }
        for at in self.uses() {
            tracing::warn!("{} is detached and still in use: {at}", self.path.display());
        }
        let (path, index) = (self.path.clone(), self.index);
        let thread = std::thread::Builder::new().name("nook-detach".into());
        // Served by the thread that called this, so it cannot do it itself.
        let leave = move || (write_back(&path, index), disconnect(&path, index, &ours));
        match thread.spawn(leave) {
            Ok(thread) => self.leaving = Some(thread),
            Err(error) => tracing::error!("{} is detached without being written back: {error}", self.path.display()),
        }
    }

    /// Returns whether it is detached, or cannot be.
    pub(crate) fn has_left(&mut self) -> bool {
        if self.leaving.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        let Some(thread) = self.leaving.take() else { return true };
        match thread.join() {
            Ok((written, detached)) => {
                let is_detached = detached.is_ok();
                for error in [written.err(), detached.err()].into_iter().flatten() {
                    tracing::error!("detaching {}: {error}", self.path.display());
                }
                if is_detached {
                    self.owner = None;
                    tracing::info!("{} is detached", self.path.display());
                }
            }
            Err(_) => tracing::error!("detaching {}: the thread for it has ended", self.path.display()),
        }
        true
    }

    /// Detaches it at once, after its socket was closed: whatever is asked of it fails.
    pub(crate) fn disconnect(&mut self) -> Result<(), AttachError> {
        while !self.has_left() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.owner.take().map_or(Ok(()), |ours| disconnect(&self.path, self.index, &ours))
    }

    /// Returns what uses it or a part of it, as far as the kernel tells: mounts and swap.
    fn uses(&self) -> Vec<String> {
        let name = format!("/dev/nbd{}", self.index);
        let is_it = |device: &str| {
            let rest = device.strip_prefix(&*name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('p'))
        };
        let lines = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let mounts = lines("/proc/self/mounts");
        let mounted = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (device, at) = (words.next()?, words.next()?);
            is_it(device).then(|| format!("{device} is mounted at {at}"))
        });
        let swaps = lines("/proc/swaps");
        let swapping = swaps.lines().filter_map(|line| {
            let device = line.split_whitespace().next()?;
            is_it(device).then(|| format!("{device} is used for swap"))
        });
        mounted.chain(swapping).collect()
    }
}

impl Drop for KernelDevice {
    /// Detaches it if nobody did, so that it is not somebody's for good whose process has ended.
    fn drop(&mut self) {
        if self.leaving.is_none()
            && let Some(ours) = self.owner.take()
            && let Err(error) = disconnect(&self.path, self.index, &ours)
        {
            tracing::error!("detaching {}: {error}", self.path.display());
        }
    }
}

fn find_family(path: &Path) -> Result<Nbd, AttachError> {
    Nbd::find().map_err(|error| match error {
        Errno::NOENT => AttachError::NoModule,
        error => AttachError::Other {
            what: format!("asking the kernel for network block devices, for {}", path.display()),
            source: error.into(),
        },
    })
}

/// Returns the N of `/dev/nbdN`, whatever the path to it.
fn index(path: &Path) -> Result<u32, AttachError> {
    let not_one = |what: String| AttachError::NotOne { path: path.to_owned(), what };
    let meta = fs::metadata(path).map_err(|error| not_one(format!("cannot be looked at ({error})")))?;
    if !meta.file_type().is_block_device() {
        return Err(not_one("is no block device".into()));
    }
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    if major != MAJOR {
        return Err(not_one(format!("is block device {major}:{minor}, another driver's")));
    }
    // Devices with parts have numbers that are some apart: the kernel says which is which.
    let link = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
    let link = link.map_err(|error| not_one(format!("is unknown to the kernel ({error})")))?;
    let name = link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = name.strip_prefix("nbd").and_then(|number| number.parse().ok());
    number.ok_or_else(|| not_one(format!("is {name}, which is a part of one")))
}

/// Returns the number of the thread whose device it is, if it is somebody's.
fn owner(index: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/block/nbd{index}/pid")).ok()?;
    Some(text.trim().to_owned())
}

/// Writes what the kernel holds of the device and its parts, with what file systems on them hold. One that cannot be
/// written keeps no other one from it; the error is the first.
fn write_back(path: &Path, index: u32) -> Result<(), AttachError> {
    let name = format!("nbd{index}");
    let other =
        |source| AttachError::Other { what: format!("writing back what is cached of {}", path.display()), source };
    let parts = fs::read_dir(format!("/sys/block/{name}")).map(|entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        let parts = names.filter(|entry| entry.to_str().is_some_and(|entry| entry.starts_with(&*name)));
        parts.map(|part| Path::new("/dev").join(part)).collect::<Vec<_>>()
    });
    let of_parts = match parts {
        Ok(parts) => parts.iter().map(|part| flush_buffers(part)).fold(Ok(()), Result::and),
        Err(error) => Err(error),
    };
    // The whole device last: it has what its parts' file systems wrote.
    of_parts.and(flush_buffers(path)).map_err(other)
}

#[expect(unsafe_code, reason = "there is no other way to the request BLKFLSBUF")]
fn flush_buffers(device: &Path) -> io::Result<()> {
    /// Linux, include/uapi/linux/fs.h.
    const BLKFLSBUF: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 97);
    let file = fs::File::open(device)?;
    // SAFETY: the request takes no argument: no memory of this process is read or written.
    unsafe { rustix::ioctl::ioctl(&file, rustix::ioctl::NoArg::<BLKFLSBUF>::new()) }?;
    // What its own cache held was written, and is on the medium when a flush is done.
    file.sync_all()
}

/// Disconnects it, if it is still whose it was.
fn disconnect(path: &Path, index: u32, ours: &str) -> Result<(), AttachError> {
    if owner(index).is_some_and(|now| now != ours) {
        return Ok(());
    }
    let other =
        |error: Errno| AttachError::Other { what: format!("detaching {}", path.display()), source: error.into() };
    find_family(path)?.disconnect(index).map_err(other)
}

/// Prepares this process for being what the kernel waits for when it needs memory. For threads that are started later,
/// too.
///
/// - All memory that it has is in RAM, and stays; what it asks for later stays from when it is first used
///   (mlockall(2)). A driver that is restarted is not slowed down by pages that nobody uses.
/// - What it asks for is given without waiting for a disk or a file system (prctl(2), `PR_SET_IO_FLUSHER`).
/// - It is not what the kernel ends to have memory.
pub(crate) fn prepare() -> Result<(), AttachError> {
    let other = |what: &str, source: io::Error| AttachError::Other { what: what.to_owned(), source };
    let missing = |what: &str, right| AttachError::Rights { what: what.to_owned(), right };
    let what = "keeping this process from being ended for its memory";
    fs::write("/proc/self/oom_score_adj", OOM_NEVER).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => missing(what, "CAP_SYS_RESOURCE"),
        _ => other(what, error),
    })?;
    let what = "locking this process's memory";
    for flags in [MlockAllFlags::CURRENT, MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT] {
        mlockall(flags).map_err(|error| match error {
            Errno::PERM | Errno::NOMEM => missing(what, "CAP_IPC_LOCK"),
            error => other(what, error.into()),
        })?;
    }
    let what = "asking for memory without waiting for disks";
    rustix::process::configure_io_flusher_behavior(true).map_err(|error| match error {
        Errno::PERM => missing(what, "CAP_SYS_RESOURCE"),
        error => other(what, error.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_network_block_device_is_refused_by_name() {
        let said = |path: &str| index(Path::new(path)).unwrap_err().to_string();
        assert!(said("/dev/nothing").contains("/dev/nothing cannot be looked at"));
        assert!(said("/dev/null").contains("/dev/null is no block device: name a network block device"));
        assert!(said("/proc/self/status").contains("is no block device"));
    }
}
