//! The two queues of frames below an IP stack, as a device of smoltcp.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::neighbours::Neighbours;

/// The longest frame of a stack, without frame check sequence: an Ethernet header and 1,500 bytes.
pub(crate) const FRAME_BYTES: usize = 1514;

/// The shortest frame on a cable, without frame check sequence (IEEE 802.3, 64 bytes with it).
pub(crate) const SHORTEST_FRAME_BYTES: usize = 60;

/// Frames on their way to the stack: as many as fill its largest receive window and the batch of a driver besides.
const RX_FRAMES: usize = 1024;

/// Frames from the stack that it may go on sending at.
const TX_FRAMES: usize = 256;

/// Frames from the stack that it may go on answering at: what arrives waits while there are more.
const TX_FRAMES_WITH_ANSWERS: usize = 2 * TX_FRAMES;

/// Frames are cut from blocks of this many bytes, which are used again when their last frame is gone.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where the memory of frames comes from: one allocation for about 40 of them.
#[derive(Default)]
struct Arena {
    block: BytesMut,
}

impl Arena {
    /// Appends a frame of `len` bytes that `fill` writes.
    #[inline]
    fn frame<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> (Bytes, R) {
        if self.block.capacity() < len {
            self.block.reserve(BLOCK_BYTES.max(len));
        }
        self.block.resize(len, 0);
        let result = fill(&mut self.block[..]);
        (self.block.split().freeze(), result)
    }
}

/// The frames between a stack and its cable.
pub(crate) struct FrameQueues {
    rx: VecDeque<Bytes>,
    tx: VecDeque<Bytes>,
    arena: Arena,
    shortest_bytes: usize,
    neighbours: Neighbours,
    repeats: Option<Repeats>,
}

impl FrameQueues {
    /// Creates empty queues. Frames that the stack sends are filled up to `shortest_bytes`.
    pub(crate) fn new(shortest_bytes: usize) -> Self {
        FrameQueues {
            rx: VecDeque::with_capacity(RX_FRAMES),
            tx: VecDeque::with_capacity(TX_FRAMES_WITH_ANSWERS),
            arena: Arena::default(),
            shortest_bytes,
            neighbours: Neighbours::default(),
            repeats: None,
        }
    }

    /// Queues a frame of `len` bytes for the stack, or says that there is no room.
    #[inline]
    pub(crate) fn arrive(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if self.rx.len() == RX_FRAMES {
            return false;
        }
        let (frame, ()) = self.arena.frame(len, fill);
        if let Some(repeats) = &mut self.repeats {
            repeats.incoming(&frame);
        }
        self.rx.push_back(frame);
        true
    }

    /// Takes the next frame that the stack has sent.
    #[inline]
    pub(crate) fn leave(&mut self) -> Option<Bytes> {
        self.tx.pop_front()
    }

    /// Returns whether there is something for the stack to read, and room for its answer.
    #[inline]
    pub(crate) fn can_be_read(&self) -> bool {
        !self.rx.is_empty() && self.tx.len() < TX_FRAMES_WITH_ANSWERS
    }

    /// Returns whether frames wait to be taken.
    #[inline]
    pub(crate) fn has_left(&self) -> bool {
        !self.tx.is_empty()
    }

    /// Returns whether the stack waits until frames are taken.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.tx.len() >= TX_FRAMES
    }

    /// Forgets every frame, as a cable does when it is pulled.
    pub(crate) fn clear(&mut self) {
        self.rx.clear();
        self.tx.clear();
    }

    /// Counts from here on what TCP repeats between this local port and others.
    pub(crate) fn watch(&mut self, local_port: u16) {
        self.repeats = Some(Repeats { local_port, ..Repeats::default() });
    }

    /// Segments of the watched connection that were sent again, by either end.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeats.as_ref().map_or(0, |repeats| repeats.out.repeated + repeats.inward.repeated)
    }
}

impl Device for FrameQueues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Arrived, Leaving<'_>)> {
        if !self.can_be_read() {
            return None;
        }
        if let Some(introduction) = self.neighbours.introduce(self.rx.front()?, now) {
            return Some((Arrived(Bytes::copy_from_slice(&introduction)), Leaving(self)));
        }
        let frame = self.rx.pop_front()?;
        Some((Arrived(frame), Leaving(self)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leaving<'_>> {
        (!self.is_full()).then_some(Leaving(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_BYTES;
        capabilities
    }
}

/// A frame that the stack is about to read.
pub(crate) struct Arrived(Bytes);

impl RxToken for Arrived {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// The right to send one frame.
pub(crate) struct Leaving<'a>(&'a mut FrameQueues);

impl TxToken for Leaving<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let queues = self.0;
        let padded = len.max(queues.shortest_bytes);
        let (frame, result) = queues.arena.frame(padded, |bytes| write(&mut bytes[..len]));
        if let Some(repeats) = &mut queues.repeats {
            repeats.outgoing(&frame);
        }
        queues.tx.push_back(frame);
        result
    }
}

/// One direction of a TCP connection, as seen on the cable.
#[derive(Default)]
struct Seen {
    /// The sequence number after the last byte seen.
    end: Option<u32>,
    repeated: u64,
}

impl Seen {
    fn segment(&mut self, start: u32, len: u32) {
        // A single byte is a probe of a closed window, which the data repeats by rights.
        if len <= 1 {
            return;
        }
        match self.end {
            // Sequence numbers wrap: the sign of the difference says which is later.
            Some(end) if (start.wrapping_sub(end) as i32) < 0 => {
                self.repeated += 1;
                let new_end = start.wrapping_add(len);
                if (new_end.wrapping_sub(end) as i32) > 0 {
                    self.end = Some(new_end);
                }
            }
            _ => self.end = Some(start.wrapping_add(len)),
        }
    }
}

/// Counts TCP segments that begin before the end of what was already sent.
///
/// For what this end sends that is exactly the retransmissions. Of the far end's it misses those whose first sending
/// was lost on the way with nothing behind it.
#[derive(Default)]
struct Repeats {
    local_port: u16,
    out: Seen,
    inward: Seen,
}

impl Repeats {
    fn outgoing(&mut self, frame: &[u8]) {
        if let Some((source, _, start, len)) = segment(frame)
            && source == self.local_port
        {
            self.out.segment(start, len);
        }
    }

    fn incoming(&mut self, frame: &[u8]) {
        if let Some((_, destination, start, len)) = segment(frame)
            && destination == self.local_port
        {
            self.inward.segment(start, len);
        }
    }
}

/// Ports, sequence number and payload length of a TCP segment over IPv4 in an Ethernet frame.
fn segment(frame: &[u8]) -> Option<(u16, u16, u32, u32)> {
    use smoltcp::wire::{EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket};
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(packet.payload()).ok()?;
    let len = tcp.payload().len() as u32;
    Some((tcp.src_port(), tcp.dst_port(), tcp.seq_number().0 as u32, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_begins_before_the_end_of_what_was_sent_is_a_repeat() {
        let mut seen = Seen::default();
        seen.segment(1000, 500);
        seen.segment(1500, 500);
        assert_eq!(seen.repeated, 0);
        seen.segment(1500, 500);
        assert_eq!(seen.repeated, 1);
        seen.segment(2000, 500);
        assert_eq!(seen.repeated, 1);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut seen = Seen::default();
        seen.segment(u32::MAX - 99, 200);
        seen.segment(100, 200);
        assert_eq!(seen.repeated, 0);
        seen.segment(u32::MAX - 99, 200);
        assert_eq!(seen.repeated, 1);
        seen.segment(300, 200);
        assert_eq!(seen.repeated, 1);
    }

    #[test]
    fn what_arrives_when_the_queue_is_full_is_refused() {
        let mut queues = FrameQueues::new(0);
        for _ in 0..RX_FRAMES {
            assert!(queues.arrive(60, |frame| frame.fill(1)));
        }
        assert!(!queues.arrive(60, |frame| frame.fill(1)));
    }

    #[test]
    fn a_short_frame_is_filled_up_with_zeros() {
        let mut queues = FrameQueues::new(SHORTEST_FRAME_BYTES);
        Leaving(&mut queues).consume(42, |frame| frame.fill(7));
        let frame = queues.leave().expect("a frame");
        assert_eq!(frame.len(), SHORTEST_FRAME_BYTES);
        assert!(frame[42..].iter().all(|&byte| byte == 0));
    }
}
