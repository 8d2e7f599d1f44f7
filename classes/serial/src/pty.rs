//! [`Terminal`]: a pseudo-terminal whose slave side is what programs open.
//!
//! How the line is to be is read off the slave's settings, which the master side can ask for, each time before bytes
//! are read and now and then. Packet mode would announce changes, but only as long as the slave has `EXTPROC`, and
//! `stty sane` takes that away; a look costs a system call. It tells rate, stop bits and the use of RTS and CTS. Data
//! bits and parity it does not: Linux drops them when a program sets them, so they are the operator's.
//!
//! The kernel keeps no order between settings and bytes: what a program writes before it changes them may be read
//! after, and waiting (`tcdrain`) returns at once. A program that cannot do without waits for itself.
//!
//! While no program has it open, the line's other side sees DTR and RTS down, and what it sends is dropped and counted,
//! as with a port that nobody has open.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nook_abi::serial::{LineSettings, control};
use nook_serial_api::{PortSettings, Received, SerialBackend};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, Termios, ioctl_tiocnxcl, tcgetattr, tcsetattr};

use crate::raw;

/// How often it is looked whether a program opened it, or changed its settings.
const LOOK_NS: u64 = 20_000_000;
/// The most bytes that are written at once.
const PIECE: usize = 1024;

/// Why there is no pseudo-terminal.
#[derive(Debug, thiserror::Error)]
pub enum PtyError {
    /// What is at the path is something else.
    #[error("{path:?} is there already, and is no link to a pseudo-terminal: choose another path, or remove it")]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// The system has none, or the link to it cannot be made.
    #[error("cannot make a pseudo-terminal at {path:?}: {source}")]
    Os {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A pseudo-terminal, and the link by which programs find it.
#[derive(Debug)]
pub struct Terminal {
    path: PathBuf,
    master: OwnedFd,
    slave: PathBuf,
    /// A program has it open.
    open: bool,
    /// How the line is if the slave does not say.
    line: LineSettings,
    wanted: PortSettings,
    look_ns: u64,
    /// Bytes that came while no program had it open.
    unread: u64,
    opened: u64,
}

impl Terminal {
    /// Makes a pseudo-terminal, and `path` a link to it; `line` is how the line is until a program sets it, and data
    /// bits and parity for good. A link that another run left there is replaced.
    ///
    /// # Errors If something else is there, or the system has none.
    pub fn open(path: &Path, line: LineSettings) -> Result<Self, PtyError> {
        let failed = |source: io::Error| PtyError::Os { path: path.into(), source };
        if is_in_the_way(path) {
            return Err(PtyError::InTheWay { path: path.into() });
        }
        let (master, slave) = pair(line).map_err(failed)?;
        link(path, &slave).map_err(failed)?;
        let wanted = PortSettings { line, control: 0, flow: false };
        tracing::info!("the serial line is at {} ({})", path.display(), slave.display());
        Ok(Terminal { path: path.into(), master, slave, open: false, line, wanted, look_ns: 0, unread: 0, opened: 0 })
    }

    /// Returns how many bytes came while no program had it open.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Returns how often programs opened it after none had.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Looks how the slave is set, and whether a program has it open.
    fn look(&mut self) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.master, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A signal may have come: the next look finds out.
        if poll(&mut fds, Some(&now)).is_err() {
            return Ok(());
        }
        let open = !fds[0].revents().contains(PollFlags::HUP);
        if open {
            self.opened += u64::from(!self.open);
            self.wanted = self.of(&tcgetattr(&self.master)?);
        } else if self.open {
            self.closed();
        }
        self.open = open;
        Ok(())
    }

    /// Returns what the slave's settings say.
    fn of(&self, termios: &Termios) -> PortSettings {
        let modes = termios.control_modes;
        let stop_bits = if modes.contains(ControlModes::CSTOPB) { 2 } else { 1 };
        // A rate of 0 hangs up.
        let (baud, control) = match termios.output_speed() {
            0 => (self.wanted.line.baud, 0),
            baud => (baud, control::DTR | control::RTS),
        };
        let line = LineSettings { baud, stop_bits, ..self.line };
        PortSettings { line, control, flow: modes.contains(ControlModes::CRTSCTS) }
    }

    /// The last program has closed it. One that had it for itself alone leaves it so: then programs find a fresh one at
    /// the path.
    fn closed(&mut self) {
        self.wanted.control = 0;
        match open_terminal(&self.slave) {
            Ok(slave) => {
                // It is only root for whom it could be opened and be somebody's alone.
                let _ = ioctl_tiocnxcl(&slave);
            }
            // Or its owner cannot open it any more: whatever a program did to it, the driver is not to pay for that.
            Err(_) => match self.replaced() {
                Ok(()) => tracing::debug!("the serial line is at {} now", self.slave.display()),
                Err(error) => tracing::warn!("the serial line cannot be opened any more, and has no other: {error}"),
            },
        }
    }

    /// Takes a fresh terminal in place of this one.
    fn replaced(&mut self) -> io::Result<()> {
        if is_in_the_way(&self.path) {
            return Err(io::Error::other(format!("{} is something else now", self.path.display())));
        }
        let (master, slave) = pair(self.wanted.line)?;
        link(&self.path, &slave)?;
        (self.master, self.slave) = (master, slave);
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Another run may have replaced it.
        if fs::read_link(&self.path).is_ok_and(|to| to == self.slave) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a pseudo-terminal that passes bytes on as they are. Returns its master side, and where its slave is.
fn pair(line: LineSettings) -> io::Result<(OwnedFd, PathBuf)> {
    let master = open_terminal("/dev/ptmx".as_ref())?;
    let slave = raw::unlock(&master)?;
    let opened = open_terminal(&slave)?;
    let mut termios = tcgetattr(&opened)?;
    termios.make_raw();
    termios.control_modes.set(ControlModes::CSTOPB, line.stop_bits == 2);
    termios.set_speed(line.baud)?;
    tcsetattr(&opened, OptionalActions::Now, &termios)?;
    Ok((master, slave))
}

fn open_terminal(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Returns whether something is there that is no link to a pseudo-terminal.
fn is_in_the_way(path: &Path) -> bool {
    let is_pty = |to: PathBuf| to.starts_with("/dev/pts");
    fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_symlink() || !fs::read_link(path).is_ok_and(is_pty))
}

/// Makes `path` a link to this: at no time is there none.
fn link(path: &Path, to: &Path) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    std::os::unix::fs::symlink(to, &fresh)?;
    fs::rename(&fresh, path).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

impl SerialBackend for Terminal {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        match rustix::io::read(&self.master, into) {
            Ok(read) => Ok(read),
            // No program has it open.
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn write(&mut self, received: &[Received]) -> io::Result<usize> {
        if !self.open {
            // A program may have opened it since.
            self.look()?;
        }
        if !self.open {
            self.unread += received.len() as u64;
            return Ok(received.len());
        }
        let mut bytes = [0; PIECE];
        let len = received.len().min(PIECE);
        bytes.iter_mut().zip(received).for_each(|(byte, received)| *byte = received.byte);
        match rustix::io::write(&self.master, &bytes[..len]) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    fn wanted(&self) -> PortSettings {
        self.wanted
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        if now_ns >= self.look_ns {
            self.look_ns = now_ns + LOOK_NS;
            self.look()?;
        }
        Ok(Some(self.look_ns))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        // Of one that no program has open, it is said again and again.
        if self.open {
            fds.push(self.master.as_raw_fd());
        }
    }
}
