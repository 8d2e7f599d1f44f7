//! Message signalled interrupts of a card (MSI-X), as eventfds.
//!
//! qtest tells of interrupt lines only. A message is a write to memory, though, and memory can be a register: here the
//! doorbell of QEMU's device `ivshmem-doorbell`, which turns the number that is written into a signal on an eventfd of
//! a peer. The peer is this process, which also plays the server that introduces peers to each other (QEMU,
//! docs/specs/ivshmem-spec).

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nook_bus::Width;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::device::eventfd;
use crate::machine::{CARD, DOORBELL};
use crate::pci::{Bar, Bars, FreeAddresses};
use crate::process::memory_file;
use crate::qtest::{Qtest, QtestError, Space};

type Result<T> = std::result::Result<T, QtestError>;

/// Vectors for which there are eventfds: more than a nook's driver needs of any card.
pub(crate) const VECTORS: u32 = 8;

/// The protocol's version, and the ids of its two peers.
const VERSION: i64 = 0;
const OURS: i64 = 0;
const QEMUS: i64 = 1;
/// Announces the peers' shared memory, of which this needs none.
const SHARED_MEMORY: i64 = -1;
const SHARED_BYTES: u64 = 4096;
/// The doorbell device's BAR of registers, and in it the doorbell: peer and vector are written there.
const REGISTERS: u8 = 0;
const RING: u64 = 12;

/// The capability (PCI Local Bus Specification 3.0, section 6.8.2): message control and where the table is.
const CAPABILITY: u8 = 0x11;
const CONTROL: u16 = 2;
const CONTROL_ENABLE: u32 = 1 << 15;
const CONTROL_MASK: u32 = 1 << 14;
const CONTROL_LAST_ENTRY: u32 = 0x7ff;
const TABLE: u16 = 4;
/// An entry of the table: address, data, vector control.
const ENTRY_BYTES: u64 = 16;

/// Our end of the doorbell device, before QEMU runs.
#[derive(Debug)]
pub(crate) struct Peer {
    events: Vec<File>,
    /// Closing it would tell QEMU that there is no server any more.
    _server: UnixStream,
}

impl Peer {
    /// Creates a peer, and the socket for QEMU, in which everything that a server says waits to be read.
    pub(crate) fn new() -> io::Result<(Peer, UnixStream)> {
        let (server, theirs) = UnixStream::pair()?;
        let events = (0..VECTORS).map(|_| eventfd()).collect::<io::Result<Vec<_>>>()?;
        let memory = memory_file(c"nook-qemu-doorbell")?;
        memory.set_len(SHARED_BYTES)?;
        say(&server, VERSION, None)?;
        say(&server, QEMUS, None)?;
        say(&server, SHARED_MEMORY, Some(memory.as_fd()))?;
        for event in &events {
            say(&server, OURS, Some(event.as_fd()))?;
        }
        // On which we could signal QEMU, and never do.
        for _ in 0..VECTORS {
            say(&server, QEMUS, Some(eventfd()?.as_fd()))?;
        }
        Ok((Peer { events, _server: server }, theirs))
    }
}

/// Sends one message of the server's: a number and perhaps a descriptor.
fn say(socket: &UnixStream, number: i64, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = number.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        debug_assert!(fits, "there is room for one descriptor");
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() {
        return Ok(());
    }
    Err(io::Error::other(format!("{sent} of {} bytes were sent", bytes.len())))
}

/// The card's messages, each of which ends in an eventfd.
#[derive(Debug)]
pub(crate) struct Messages {
    peer: Peer,
    /// Where the capability is in the card's configuration space.
    capability: u16,
    /// Where the card's table is, and how many entries it has.
    table: u64,
    entries: u32,
    /// What a message is written to.
    doorbell: u64,
    enabled: u32,
    /// They are on, and all masked.
    masked: bool,
}

impl Messages {
    /// Finds the table of a card whose BARs are placed, and gives the doorbell device its addresses. `None` if the card
    /// has no such messages.
    pub(crate) fn find(
        q: &mut Qtest,
        peer: Peer,
        capabilities: &[(u8, u16)],
        bars: &[Bar],
        free: &mut FreeAddresses,
    ) -> Result<Option<Messages>> {
        let Some(&(_, capability)) = capabilities.iter().find(|(id, _)| *id == CAPABILITY) else { return Ok(None) };
        let entries = (CARD.read(q, capability + CONTROL, Width::B2)? & CONTROL_LAST_ENTRY) + 1;
        let place = CARD.read(q, capability + TABLE, Width::B4)?;
        let Some(bar) = bars.iter().find(|bar| u32::from(bar.info.index) == place & 7) else { return Ok(None) };
        let table = bar.address + u64::from(place & !7);
        let Bars::Placed(own) = DOORBELL.place_bars(q, free)? else { return Ok(None) };
        DOORBELL.command(q, nook_bus::config::COMMAND_MEMORY, 0)?;
        let registers = own.iter().find(|bar| bar.info.index == REGISTERS);
        let Some(doorbell) = registers.map(|bar| bar.address + RING) else { return Ok(None) };
        Ok(Some(Messages { peer, capability, table, entries, doorbell, enabled: 0, masked: false }))
    }

    /// Aims as many of `wanted` vectors as there can be at the doorbell, and turns messages on. Says how many.
    pub(crate) fn enable(&mut self, q: &mut Qtest, wanted: u32) -> Result<u32> {
        let vectors = wanted.min(self.entries).min(VECTORS);
        for vector in 0..vectors {
            let entry = self.table + ENTRY_BYTES * u64::from(vector);
            let data = (OURS as u32) << 16 | vector;
            for (at, word) in [self.doorbell as u32, (self.doorbell >> 32) as u32, data, 0].into_iter().enumerate() {
                q.write(Space::Memory, entry + 4 * at as u64, Width::B4, word.into())?;
            }
        }
        self.control(q, CONTROL_ENABLE, CONTROL_MASK)?;
        (self.enabled, self.masked) = (vectors, false);
        Ok(vectors)
    }

    /// Masks all messages, and forgets those that were not fetched. They stay on: QEMU's e1000e (7.2.22) can end
    /// with an assertion when messages are turned off.
    pub(crate) fn disable(&mut self, q: &mut Qtest) -> Result<()> {
        self.control(q, CONTROL_MASK, 0)?;
        self.fired()?;
        (self.enabled, self.masked) = (0, true);
        Ok(())
    }

    /// Turns messages off that were [masked](Self::disable), if they were: the line is wanted.
    pub(crate) fn turn_off(&mut self, q: &mut Qtest) -> Result<()> {
        if std::mem::take(&mut self.masked) {
            self.control(q, 0, CONTROL_ENABLE | CONTROL_MASK)?;
        }
        Ok(())
    }

    fn control(&self, q: &mut Qtest, set: u32, clear: u32) -> Result<()> {
        let old = CARD.read(q, self.capability + CONTROL, Width::B2)?;
        CARD.write(q, self.capability + CONTROL, Width::B2, old & !clear | set)?;
        q.finish()
    }

    /// Takes the vectors that have fired since this was last called.
    pub(crate) fn fired(&mut self) -> io::Result<u32> {
        let mut vectors = 0;
        for (vector, mut event) in self.peer.events.iter().take(self.enabled as usize).enumerate() {
            match event.read(&mut [0; 8]) {
                Ok(_) => vectors |= 1 << vector,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(vectors)
    }

    /// Returns what becomes readable when one fires.
    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> {
        self.peer.events.iter().take(self.enabled as usize).map(AsRawFd::as_raw_fd)
    }
}
