//! Packets with any chain of headers are cut up into right frames, or refused; each run of these tests has the same
//! packets.

use nook_bus::VolatileSlice;
use nook_net_api::Room;
use nook_seed::Rng;

use super::checksum::sum;
use super::{Gso, Next, Splitter, VnetHeader};

const BUFFER_BYTES: usize = 2048;
const PACKETS: u32 = 3000;

/// A packet, and where its parts are.
pub(super) struct Whole {
    pub(super) vnet: VnetHeader,
    pub(super) bytes: Vec<u8>,
    pub(super) v6: bool,
    pub(super) ip: usize,
    pub(super) tcp: usize,
    pub(super) payload: usize,
    /// What is summed up before TCP's length.
    pub(super) pseudo: Vec<u8>,
}

fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.word() as u8).collect()
}

fn put(bytes: &mut [u8], at: usize, word: usize) {
    bytes[at..at + 2].copy_from_slice(&(word as u16).to_be_bytes());
}

/// Appends IPv6's header and up to three others; says what the last address is.
fn push_ipv6(rng: &mut Rng, bytes: &mut Vec<u8>) -> Vec<u8> {
    let ip = bytes.len();
    bytes.extend([0x60, 0, 0, 0, 0, 0, 6, 64]);
    bytes.extend(random_bytes(rng, 32));
    let mut last = bytes[ip + 24..ip + 40].to_vec();
    let mut next_at = ip + 6;
    let all = [0, 43, 60];
    let chosen: Vec<u8> = all.into_iter().filter(|_| rng.one_in(3)).collect();
    for kind in chosen {
        bytes[next_at] = kind;
        next_at = bytes.len();
        let units = if kind == 43 { 2 } else { rng.below(4) as u8 };
        let content = random_bytes(rng, 6 + 8 * usize::from(units));
        bytes.extend([6, units]);
        if kind == 43 {
            // One address on the way, of which the pseudo header has the last.
            bytes.extend([2, 1, 0, 0, 0, 0]);
            last = content[..16].to_vec();
            bytes.extend(&last);
        } else {
            bytes.extend(content);
        }
    }
    last
}

impl Whole {
    pub(super) fn new(rng: &mut Rng) -> Whole {
        let v6 = rng.one_in(2);
        let mut bytes = random_bytes(rng, 12);
        for _ in 0..rng.below(3) {
            bytes.extend(if rng.one_in(2) { [0x81, 0, 0, 7] } else { [0x88, 0xa8, 0x60, 8] });
        }
        bytes.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let ip = bytes.len();
        let mut pseudo = Vec::new();
        if v6 {
            let last = push_ipv6(rng, &mut bytes);
            pseudo.extend_from_slice(&bytes[ip + 8..ip + 24]);
            pseudo.extend(last);
        } else {
            let options = rng.below(11) as usize * 4;
            bytes.extend([0x45 + (options / 4) as u8, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 64, 6, 0, 0]);
            bytes.extend(random_bytes(rng, 8 + options));
            pseudo.extend_from_slice(&bytes[ip + 12..ip + 20]);
        }
        pseudo.extend([0, 6]);
        let tcp = bytes.len();
        let options = rng.below(11) as usize * 4;
        bytes.extend(random_bytes(rng, 20 + options));
        bytes[tcp + 12] = ((20 + options) / 4 * 16) as u8;
        let payload = bytes.len();
        let payload_bytes = rng.up_to(20_000) as usize;
        bytes.extend(random_bytes(rng, payload_bytes));
        let (len, tcp_bytes) = (bytes.len(), bytes.len() - tcp);
        put(&mut bytes, tcp + 16, 0);
        let mut whole = pseudo.clone();
        whole.extend((tcp_bytes as u16).to_be_bytes());
        let needs_checksum = rng.one_in(2);
        let checksum = if needs_checksum {
            sum(&whole)
        } else {
            whole.extend_from_slice(&bytes[tcp..]);
            !sum(&whole)
        };
        put(&mut bytes, tcp + 16, checksum.into());
        if v6 {
            put(&mut bytes, ip + 4, len - ip - 40);
        } else {
            put(&mut bytes, ip + 2, len - ip);
        }
        let vnet = VnetHeader {
            checked: false,
            needs_checksum,
            gso: if v6 { Gso::TcpV6 } else { Gso::TcpV4 },
            header_bytes: payload as u16,
            gso_bytes: 1 + rng.below(1400) as u16,
            csum_start: if needs_checksum { tcp as u16 } else { 0 },
            csum_offset: if needs_checksum { 16 } else { 0 },
        };
        Whole { vnet, bytes, v6, ip, tcp, payload, pseudo }
    }

    fn cut(&self) -> Result<Vec<Vec<u8>>, Next> {
        cut(self.vnet, &self.bytes)
    }

    /// Returns whether the frame's TCP checksum is right.
    fn is_intact(&self, frame: &[u8]) -> bool {
        let mut summed = self.pseudo.clone();
        summed.extend(((frame.len() - self.tcp) as u16).to_be_bytes());
        summed.extend_from_slice(&frame[self.tcp..]);
        sum(&summed) == 0xffff
    }
}

fn cut(vnet: VnetHeader, packet: &[u8]) -> Result<Vec<Vec<u8>>, Next> {
    let (mut splitter, mut buffer, mut frames) = (Splitter::new(), vec![0; BUFFER_BYTES], Vec::new());
    let mut next = Some(splitter.begin_with(vnet, packet, &Room::one(VolatileSlice::from(&mut buffer[..]))));
    while let Some(this) = next {
        let Next::Frame(len) = this else { return Err(this) };
        frames.push(buffer[..len].to_vec());
        assert!(frames.len() <= packet.len() + 1, "it does not end");
        next = splitter.next(&Room::one(VolatileSlice::from(&mut buffer[..])));
    }
    Ok(frames)
}

fn word(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

#[test]
fn any_chain_of_headers_is_on_each_frame_and_the_frames_together_are_the_stream() {
    let mut rng = Rng::new(17);
    for at in 0..PACKETS {
        let whole = Whole::new(&mut rng);
        let frames = whole.cut().unwrap_or_else(|next| panic!("packet {at}: {next:?}"));
        let Whole { v6, ip, tcp, payload, .. } = whole;
        let mut stream = Vec::new();
        for (n, frame) in frames.iter().enumerate() {
            let what = format!("packet {at}, frame {n}");
            assert_eq!(frame[..ip], whole.bytes[..ip], "{what}: addresses and tags");
            let sequence = |bytes: &[u8]| u32::from_be_bytes(bytes[tcp + 4..tcp + 8].try_into().unwrap());
            assert_eq!(sequence(frame), sequence(&whole.bytes).wrapping_add(stream.len() as u32), "{what}");
            assert!(whole.is_intact(frame), "{what}: TCP's checksum");
            if v6 {
                assert_eq!(word(frame, ip + 4), frame.len() - ip - 40, "{what}");
                assert_eq!(frame[ip + 6..tcp], whole.bytes[ip + 6..tcp], "{what}: IPv6's headers");
            } else {
                assert_eq!(word(frame, ip + 2), frame.len() - ip, "{what}");
                assert_eq!(word(frame, ip + 4), (0xfffe + n) % 0x10000, "{what}: identification");
                assert_eq!(sum(&frame[ip..tcp]), 0xffff, "{what}: IPv4's checksum");
                assert_eq!(frame[ip + 20..tcp], whole.bytes[ip + 20..tcp], "{what}: options");
            }
            let (first, last) = (n == 0, n + 1 == frames.len());
            let flags = |bytes: &[u8]| bytes[tcp + 13];
            let kept = if last { 0xff } else { !0x09 } & if first { 0xff } else { !0x80 };
            assert_eq!(flags(frame), flags(&whole.bytes) & kept, "{what}: flags");
            assert_eq!(frame[tcp + 20..payload], whole.bytes[tcp + 20..payload], "{what}: TCP's options");
            assert!(last || frame.len() - payload == usize::from(whole.vnet.gso_bytes), "{what}");
            stream.extend_from_slice(&frame[payload..]);
        }
        assert_eq!(stream, whole.bytes[payload..], "packet {at}");
    }
}

#[test]
fn a_finished_packet_that_was_damaged_gives_no_frames_that_are_all_right() {
    let mut rng = Rng::new(18);
    let mut tried = 0;
    while tried < 500 {
        let mut whole = Whole::new(&mut rng);
        if whole.vnet.needs_checksum || whole.bytes.len() == whole.payload {
            continue;
        }
        let at = whole.payload + rng.index(whole.bytes.len() - whole.payload);
        whole.bytes[at] ^= 1 << rng.below(8);
        let frames = whole.cut().unwrap();
        assert!(!frames.iter().all(|frame| whole.is_intact(frame)), "a new checksum covers up byte {at}");
        tried += 1;
    }
}

/// Makes up to three things of a packet otherwise.
pub(super) fn garble(rng: &mut Rng, vnet: &mut VnetHeader, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let any = rng.word() as u16;
        match rng.below(8) {
            0 => vnet.gso_bytes = any,
            1 => vnet.csum_start = any,
            2 => vnet.csum_offset = any,
            3 => vnet.needs_checksum = !vnet.needs_checksum,
            4 => vnet.gso = [Gso::One, Gso::TcpV4, Gso::TcpV6, Gso::Other(any as u8)][rng.index(4)],
            5 => bytes.truncate(rng.index(bytes.len().min(200))),
            _ if !bytes.is_empty() => {
                let at = rng.index(bytes.len().min(140));
                bytes[at] = any as u8;
            }
            _ => {}
        }
    }
}

#[test]
fn no_header_and_no_packet_makes_a_frame_longer_than_the_buffer_or_an_endless_packet() {
    let mut rng = Rng::new(19);
    let mut refused = 0;
    for _ in 0..4 * PACKETS {
        let Whole { mut vnet, mut bytes, .. } = Whole::new(&mut rng);
        garble(&mut rng, &mut vnet, &mut bytes);
        match cut(vnet, &bytes) {
            Ok(frames) => assert!(frames.iter().all(|frame| frame.len() <= BUFFER_BYTES)),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > PACKETS, "{refused}: these are to be bad packets");
}

#[test]
fn a_segment_size_that_is_longer_than_a_frame_of_the_driver_is_refused() {
    let mut rng = Rng::new(20);
    let whole = std::iter::repeat_with(|| Whole::new(&mut rng)).find(|whole| whole.bytes.len() > 10_000).unwrap();
    let vnet = VnetHeader { gso_bytes: 3000, ..whole.vnet };
    assert_eq!(cut(vnet, &whole.bytes), Err(Next::Unfit(super::Unfit::TooLong)));
}
