//! From one packet, many frames: what the kernel calls generic segmentation offload, after the kernel.

use nook_abi::net::{Side, offload};
use nook_net_api::Room;

use super::chain::Chain;
use super::checksum::{add, sum};
use super::headers::{CWR, FIN, IPV6_BYTES, PSH, TCP, TCP_BYTES, Version, put_word, word};
use super::leave::leave;
use super::{Gso, LONGEST_BYTES, Unfit, VnetHeader};

/// Where TCP's header has its flags and its checksum (RFC 9293, 3.1).
const FLAGS: usize = 13;
const CHECKSUM: usize = 16;

/// Room for VLAN tags, and for finding out that a packet was longer.
const TAGS_BYTES: usize = 16;

/// Cuts a packet of TCP into frames, one each time that it is asked.
pub(crate) struct Splitter {
    packet: Box<[u8]>,
    /// Of the packet that is being cut up.
    cut: Option<Cut>,
}

/// How a packet is cut up, and how far that is. Its headers are changed in place for each frame, so what they said at
/// first is kept here.
#[derive(Clone, Copy)]
struct Cut {
    chain: Chain,
    /// Where the payload begins.
    payload: usize,
    gso_bytes: usize,
    sequence: u32,
    flags: u8,
    identification: u16,
    /// The sum of TCP's pseudo header, without its length.
    pseudo: u16,
    /// Payload that was given out.
    done: usize,
    frames: u16,
}

/// What a packet came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A frame of this length is in the buffers.
    Frame(usize),
    /// A packet of this length is in the buffers, and this is left to the driver's device to be done.
    Left(usize, Side),
    /// No frame, and none will follow: why.
    Unfit(Unfit),
}

impl Cut {
    /// Reads how this packet is to be cut up.
    fn of(vnet: VnetHeader, packet: &[u8]) -> Result<Cut, Unfit> {
        let wanted = match vnet.gso {
            Gso::TcpV4 => Version::V4,
            Gso::TcpV6 => Version::V6,
            Gso::One | Gso::Other(_) => return Err(Unfit::Kind),
        };
        let chain = Chain::of(packet, packet.len(), TCP)?;
        let Chain { ip, upper: tcp, end, .. } = chain;
        // The header in front must say the same, as far as it says something.
        let same = (usize::from(vnet.csum_start), usize::from(vnet.csum_offset)) == (tcp, CHECKSUM);
        if chain.version != wanted || vnet.needs_checksum && !same || vnet.gso_bytes == 0 {
            return Err(Unfit::Offsets);
        }
        let header = packet.get(tcp..end).filter(|header| header.len() >= TCP_BYTES).ok_or(Unfit::Length)?;
        let header_bytes = usize::from(header[12] >> 4) * 4;
        if header_bytes < TCP_BYTES || tcp + header_bytes > end {
            return Err(Unfit::Length);
        }
        // What the kernel left of the checksum is the pseudo header's sum; of a finished one that sum is what is
        // missing. A routing header's last address, which is part of it, need not be looked for in either case; and a
        // packet that was damaged on the way gives damaged frames.
        let whole = if vnet.needs_checksum { word(header, CHECKSUM) } else { !sum(header) };
        Ok(Cut {
            chain,
            payload: tcp + header_bytes,
            gso_bytes: vnet.gso_bytes.into(),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            flags: header[FLAGS],
            identification: word(packet, ip + 4),
            pseudo: add(whole, !(header.len() as u16)),
            done: 0,
            frames: 0,
        })
    }

    /// Returns the payload of the next frame, in bytes, and whether it is the last.
    fn next(&self) -> (usize, bool) {
        let left = self.chain.end - self.payload - self.done;
        (left.min(self.gso_bytes), left <= self.gso_bytes)
    }

    /// Makes the packet's headers those of the next frame.
    fn write_headers(&self, packet: &mut [u8]) {
        let Cut { chain: Chain { version, ip, upper: tcp, .. }, payload, done, frames, .. } = *self;
        let (bytes, last) = self.next();
        match version {
            Version::V4 => {
                put_word(packet, ip + 2, (payload - ip + bytes) as u16);
                put_word(packet, ip + 4, self.identification.wrapping_add(frames));
                put_word(packet, ip + 10, 0);
                let checksum = !sum(&packet[ip..tcp]);
                put_word(packet, ip + 10, checksum);
            }
            Version::V6 => put_word(packet, ip + 4, (payload - ip - IPV6_BYTES + bytes) as u16),
        }
        packet[tcp + 4..tcp + 8].copy_from_slice(&self.sequence.wrapping_add(done as u32).to_be_bytes());
        let gone = if last { 0 } else { FIN | PSH } | if frames == 0 { 0 } else { CWR };
        packet[tcp + FLAGS] = self.flags & !gone;
        put_word(packet, tcp + CHECKSUM, 0);
        let pseudo = add(self.pseudo, (payload - tcp + bytes) as u16);
        let headers = add(pseudo, sum(&packet[tcp..payload]));
        let checksum = !add(headers, sum(&packet[payload + done..][..bytes]));
        put_word(packet, tcp + CHECKSUM, checksum);
    }
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Splitter { packet: vec![0; LONGEST_BYTES + TAGS_BYTES].into_boxed_slice(), cut: None }
    }

    /// Returns where the rest of a packet goes whose first `in_room` bytes go into a frame's buffers.
    pub(crate) fn rest(&mut self, in_room: usize) -> &mut [u8] {
        &mut self.packet[in_room.min(LONGEST_BYTES + TAGS_BYTES)..]
    }

    /// Returns whether a packet of any length can be left to the driver's device, if it cuts any.
    pub(crate) fn has_room(&self, room: &Room<'_>) -> bool {
        let cuts = room.offloads & (offload::SEGMENT_V4 | offload::SEGMENT_V6) != 0;
        !cuts || room.total_bytes() >= LONGEST_BYTES
    }

    /// Begins with a packet of `len` bytes that was read: up to `in_room` of them into the buffers of `room`, the rest
    /// to where [`rest`](Self::rest) says. Its first frame, or all of it, is put in place.
    pub(crate) fn begin(&mut self, vnet: VnetHeader, room: &Room<'_>, in_room: usize, len: usize) -> Next {
        let first = len.min(in_room);
        if len >= LONGEST_BYTES + TAGS_BYTES || vnet.gso == Gso::One && len > room.longest_bytes {
            return Next::Unfit(Unfit::TooLong);
        }
        if let Some(side) = leave(vnet, room, len) {
            room.copy_from(first, &self.packet[first..len]);
            return Next::Left(len, side);
        }
        if vnet.gso == Gso::One {
            room.copy_from(first, &self.packet[first..len]);
            if vnet.needs_checksum && !self.complete(vnet, room, len) {
                return Next::Unfit(Unfit::Offsets);
            }
            return Next::Frame(len);
        }
        room.copy_to(0, &mut self.packet[..first]);
        match Cut::of(vnet, &self.packet[..len]) {
            Ok(cut) => {
                self.cut = Some(cut);
                self.next(room).unwrap_or(Next::Unfit(Unfit::Length))
            }
            Err(unfit) => Next::Unfit(unfit),
        }
    }

    /// Begins with a packet that is whole in memory, as [`begin`](Self::begin) does.
    pub(crate) fn begin_with(&mut self, vnet: VnetHeader, packet: &[u8], room: &Room<'_>) -> Next {
        let first = packet.len().min(room.total_bytes());
        room.copy_from(0, &packet[..first]);
        let Some(rest) = self.rest(first).get_mut(..packet.len() - first) else {
            return Next::Unfit(Unfit::TooLong);
        };
        rest.copy_from_slice(&packet[first..]);
        self.begin(vnet, room, first, packet.len())
    }

    /// Returns the next frame of the packet that is being cut up; `None` if there is none.
    pub(crate) fn next(&mut self, room: &Room<'_>) -> Option<Next> {
        let cut = self.cut.take()?;
        let (bytes, last) = cut.next();
        if cut.payload + bytes > room.longest_bytes {
            return Some(Next::Unfit(Unfit::TooLong));
        }
        cut.write_headers(&mut self.packet);
        room.copy_from(0, &self.packet[..cut.payload]);
        room.copy_from(cut.payload, &self.packet[cut.payload + cut.done..][..bytes]);
        if !last {
            self.cut = Some(Cut { done: cut.done + bytes, frames: cut.frames.wrapping_add(1), ..cut });
        }
        Some(Next::Frame(cut.payload + bytes))
    }

    /// Completes a checksum of which only the pseudo header's part is there.
    fn complete(&mut self, vnet: VnetHeader, room: &Room<'_>, len: usize) -> bool {
        let start = usize::from(vnet.csum_start);
        let at = start + usize::from(vnet.csum_offset);
        if at + 2 > len {
            return false;
        }
        let Some(bytes) = self.packet.get_mut(..len - start) else { return false };
        room.copy_to(start, &mut *bytes);
        let checksum = match !sum(bytes) {
            // For UDP, zero means that there is none; the other zero says the same to all.
            0 => 0xffff,
            checksum => checksum,
        };
        room.copy_from(at, &checksum.to_be_bytes());
        true
    }
}
