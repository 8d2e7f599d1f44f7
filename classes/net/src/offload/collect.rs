//! What is collected on its way to the kernel, also where the kernel takes no packet of several frames.

use nook_bus::VolatileSlice;
use nook_net_api::{Incoming, Room};

use super::{Merger, Next, Splitter, VnetHeader};

/// What became of a packet that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Taken,
    /// There is no room for it now, or the interface is down.
    NoRoom,
    /// The kernel takes none like it.
    Refused,
}

/// Collects frames for the kernel, and counts those for which it had no room.
///
/// A kernel that refuses a packet of several frames gets them, and all later ones, each by itself.
pub(crate) struct Collector {
    merger: Merger,
    /// Of the interface, for the log.
    name: String,
    /// What cuts packets up that were collected, once the kernel has refused one.
    cutter: Option<Box<Cutter>>,
    no_room: u32,
}

struct Cutter {
    splitter: Splitter,
    frame: Vec<u8>,
}

impl Collector {
    pub(crate) fn new(name: &str) -> Self {
        Collector { merger: Merger::default(), name: name.into(), cutter: None, no_room: 0 }
    }

    /// Looks at a frame and says whether it was collected; if not, it is to go by itself, now. `write` gets packets
    /// with the header before them.
    #[inline]
    pub(crate) fn take<E>(
        &mut self,
        frame: &Incoming<'_>,
        mut write: impl FnMut(&[u8]) -> Result<Written, E>,
    ) -> Result<bool, E> {
        let Collector { merger, name, cutter, no_room } = self;
        if cutter.is_some() {
            // What was begun after the refused packet goes first.
            merger.flush(|packet, frames| {
                *no_room += hand_over(name, cutter, packet, frames, &mut write)?;
                Ok(())
            })?;
            return Ok(false);
        }
        merger.take(frame, |packet, frames| {
            *no_room += hand_over(name, cutter, packet, frames, &mut write)?;
            Ok(())
        })
    }

    /// Writes everything that was collected. Returns for how many frames there was no room since the last time.
    pub(crate) fn flush<E>(&mut self, mut write: impl FnMut(&[u8]) -> Result<Written, E>) -> Result<u32, E> {
        let Collector { merger, name, cutter, no_room } = self;
        merger.flush(|packet, frames| {
            *no_room += hand_over(name, cutter, packet, frames, &mut write)?;
            Ok(())
        })?;
        Ok(std::mem::take(no_room))
    }
}

/// Writes a packet of this many frames. Returns for how many of them there was no room.
fn hand_over<E>(
    name: &str,
    cutter: &mut Option<Box<Cutter>>,
    packet: &[u8],
    frames: u16,
    write: &mut impl FnMut(&[u8]) -> Result<Written, E>,
) -> Result<u32, E> {
    if frames == 1 || cutter.is_none() {
        match write(packet)? {
            Written::Taken => return Ok(0),
            Written::Refused if frames > 1 => {}
            Written::NoRoom | Written::Refused => return Ok(frames.into()),
        }
        tracing::warn!(
            "{name}: the kernel takes no packet of several frames (EINVAL); from here on each frame goes to it by \
             itself, which costs throughput"
        );
    }
    let cutter = cutter.get_or_insert_with(|| Box::new(Cutter { splitter: Splitter::new(), frame: Vec::new() }));
    let mut taken = 0;
    cutter.each_frame(packet, |frame| {
        taken += u32::from(write(frame)? == Written::Taken);
        Ok(())
    })?;
    Ok(u32::from(frames).saturating_sub(taken))
}

impl Cutter {
    /// Passes each frame of a packet to `write`, with an empty header before it.
    fn each_frame<E>(&mut self, packet: &[u8], mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let Cutter { splitter, frame } = self;
        let Some((header, packet)) = packet.split_first_chunk::<{ VnetHeader::BYTES }>() else { return Ok(()) };
        frame.clear();
        frame.extend_from_slice(&VnetHeader::default().to_bytes());
        frame.resize(VnetHeader::BYTES + packet.len(), 0);
        let mut next = {
            let room = Room::one(VolatileSlice::from(&mut frame[VnetHeader::BYTES..]));
            Some(splitter.begin_with(VnetHeader::from_bytes(*header), packet, &room))
        };
        // What was collected here can be cut up: nothing else ends this.
        while let Some(Next::Frame(len)) = next {
            write(&frame[..VnetHeader::BYTES + len])?;
            next = splitter.next(&Room::one(VolatileSlice::from(&mut frame[VnetHeader::BYTES..])));
        }
        Ok(())
    }
}
