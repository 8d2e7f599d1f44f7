//! What is left to a device is right about the packet, or is not left to it; each run has the same packets.

use nook_abi::net::{PoolLayout, Side, offload, side_flags};
use nook_bus::VolatileSlice;
use nook_net_api::Room;
use nook_seed::Rng;

use super::checksum::sum;
use super::cut_tests::{Whole, garble};
use super::{Gso, Next, Splitter, VnetHeader};

const BUFFERS: u32 = 40;
const BUFFER_BYTES: u32 = 1984;
/// Ethernet's MTU, its header, and a tag.
const LONGEST_BYTES: usize = 1518;
const SEGMENTS: u32 = offload::SEGMENT_V4 | offload::SEGMENT_V6;
const ALL: u32 = offload::TX_CHECKSUM | offload::SEVERAL_BUFFERS | SEGMENTS;

struct Buffers(Vec<u8>);

impl Buffers {
    fn new() -> Self {
        Buffers(vec![0; (BUFFERS * BUFFER_BYTES) as usize])
    }

    /// Room in them for a driver that says this.
    fn room<'a>(&'a mut self, ids: &'a [u32], offloads: u32) -> Room<'a> {
        let pool = PoolLayout {
            count: BUFFERS,
            stride_bytes: BUFFER_BYTES,
            room_bytes: BUFFER_BYTES,
            ..PoolLayout::default()
        };
        Room::new(VolatileSlice::from(&mut self.0[..]), pool, ids, LONGEST_BYTES, offloads)
    }
}

/// Returns what is made of a packet for a driver that says this, and the packet that is in the buffers then.
fn begin(vnet: VnetHeader, bytes: &[u8], offloads: u32) -> (Next, Vec<u8>) {
    let (mut buffers, ids) = (Buffers::new(), Vec::from_iter((0..BUFFERS).rev()));
    let room = buffers.room(&ids, offloads);
    let next = Splitter::new().begin_with(vnet, bytes, &room);
    let mut there = vec![0; bytes.len()];
    room.copy_to(0, &mut there);
    (next, there)
}

/// Says which rule of the contract a frame breaks with what is beside it.
fn broken_rule(side: &Side, frame: &[u8]) -> Option<&'static str> {
    let [network, start, offset, header, segment] =
        [side.network_start, side.checksum_start, side.checksum_offset, side.header_bytes, side.segment_bytes]
            .map(usize::from);
    let segments = side.flags & side_flags::SEGMENT != 0;
    let rules = [
        (side.flags & !side_flags::ALL == 0 && side.flags & side_flags::CHECKSUM != 0, "flags"),
        (side.frame_bytes as usize == frame.len(), "the frame's length"),
        (network <= Side::MOST_NETWORK_START && network < start, "where IP begins"),
        (frame[network] >> 4 == if side.is_ipv6() { 6 } else { 4 }, "which IP it is"),
        (offset == 16 || offset == 6, "where the checksum is"),
        (start + offset + 2 <= frame.len().min(257), "where the checksum is in the frame"),
        (segments || header == 0 && segment == 0 && frame.len() <= LONGEST_BYTES, "a frame that is not cut"),
        (!segments || segment > 0 && header + segment <= LONGEST_BYTES, "the segments' length"),
        (!segments || header >= start + 20 && header <= Side::MOST_HEADER_BYTES, "the header's length"),
        (!segments || header + segment < frame.len(), "more than one segment"),
    ];
    rules.into_iter().find_map(|(holds, rule)| (!holds).then_some(rule))
}

#[test]
fn a_packet_is_left_to_a_device_that_can_cut_it_with_the_header_that_such_a_device_begins_with() {
    let (mut rng, mut left) = (Rng::new(31), 0);
    for at in 0..1000 {
        let whole = Whole::new(&mut rng);
        let (next, there) = begin(whole.vnet, &whole.bytes, ALL);
        let Next::Left(len, side) = next else { continue };
        left += 1;
        assert!(whole.vnet.needs_checksum, "packet {at}");
        assert_eq!((len, broken_rule(&side, &there)), (whole.bytes.len(), None), "packet {at}");
        assert_eq!(usize::from(side.network_start), whole.ip);
        assert_eq!(usize::from(side.checksum_start), whole.tcp);
        if side.flags & side_flags::SEGMENT == 0 {
            assert_eq!(there, whole.bytes, "packet {at}");
            continue;
        }
        assert_eq!(usize::from(side.header_bytes), whole.payload);
        assert_eq!(side.segment_bytes, whole.vnet.gso_bytes);
        let mut expected = whole.bytes.clone();
        let pseudo = sum(&whole.pseudo);
        expected[whole.tcp + 16..][..2].copy_from_slice(&pseudo.to_be_bytes());
        if whole.v6 {
            expected[whole.ip + 4..][..2].fill(0);
        } else {
            expected[whole.ip + 2..][..2].fill(0);
            expected[whole.ip + 10..][..2].fill(0);
        }
        assert!(there == expected, "packet {at}: {:x?} {:x?}", &there[..whole.payload], &expected[..whole.payload]);
    }
    assert!(left > 200, "{left}");
}

#[test]
fn nothing_is_left_to_a_device_that_cannot_do_it() {
    let mut rng = Rng::new(32);
    for _ in 0..500 {
        let whole = Whole::new(&mut rng);
        for offloads in [0, offload::RX_CHECKSUM, offload::SEVERAL_BUFFERS, SEGMENTS | offload::SEVERAL_BUFFERS] {
            assert!(!matches!(begin(whole.vnet, &whole.bytes, offloads).0, Next::Left(..)));
        }
        let other = if whole.v6 { offload::SEGMENT_V4 } else { offload::SEGMENT_V6 };
        let (next, _) = begin(whole.vnet, &whole.bytes, ALL & !SEGMENTS | other);
        assert!(!matches!(next, Next::Left(_, side) if side.flags & side_flags::SEGMENT != 0));
    }
}

#[test]
fn no_header_that_makes_no_sense_leaves_anything_to_a_device_that_breaks_a_rule() {
    let (mut rng, mut left, mut others) = (Rng::new(33), 0, 0);
    for at in 0..20_000 {
        let Whole { mut vnet, mut bytes, .. } = Whole::new(&mut rng);
        garble(&mut rng, &mut vnet, &mut bytes);
        let (next, there) = begin(vnet, &bytes, ALL);
        match next {
            Next::Left(len, side) => {
                left += 1;
                assert_eq!((len, broken_rule(&side, &there)), (bytes.len(), None), "packet {at}: {vnet:?} {side:?}");
            }
            Next::Frame(len) => assert!(len <= LONGEST_BYTES, "packet {at}: {vnet:?}"),
            Next::Unfit(_) => others += 1,
        }
    }
    assert!(left > 1000 && others > 1000, "{left} {others}");
}

#[test]
fn each_field_of_the_header_that_disagrees_with_the_packet_keeps_it_from_the_device() {
    let mut rng = Rng::new(34);
    let is_left = |vnet, bytes: &[u8]| matches!(begin(vnet, bytes, ALL).0, Next::Left(..));
    let whole = std::iter::repeat_with(|| Whole::new(&mut rng))
        .find(|whole| is_left(whole.vnet, &whole.bytes) && whole.bytes.len() > 5000 && !whole.v6)
        .unwrap();
    let vnet = whole.vnet;
    for (what, wrong) in [
        ("a checksum that begins elsewhere", VnetHeader { csum_start: vnet.csum_start + 2, ..vnet }),
        ("a checksum that begins behind the packet", VnetHeader { csum_start: u16::MAX, ..vnet }),
        ("a checksum at another place", VnetHeader { csum_offset: 6, ..vnet }),
        ("a checksum behind the packet", VnetHeader { csum_offset: u16::MAX, ..vnet }),
        ("segments of nothing", VnetHeader { gso_bytes: 0, ..vnet }),
        ("segments longer than a frame", VnetHeader { gso_bytes: 1500, ..vnet }),
        ("the other IP", VnetHeader { gso: Gso::TcpV6, ..vnet }),
        ("a kind that was not asked for", VnetHeader { gso: Gso::Other(5), ..vnet }),
        ("a packet that is not to be cut", VnetHeader { gso: Gso::One, ..vnet }),
        ("a checksum that is finished", VnetHeader { needs_checksum: false, ..vnet }),
    ] {
        assert!(!is_left(wrong, &whole.bytes), "{what}");
    }
    let mut longer = whole.bytes.clone();
    longer.push(0);
    assert!(!is_left(vnet, &longer), "bytes that IP says nothing of");
    let mut fragment = whole.bytes.clone();
    fragment[whole.ip + 7] = 1;
    assert!(!is_left(vnet, &fragment), "a fragment");
    let mut header = whole.bytes.clone();
    header[whole.tcp + 12] = 0x40;
    assert!(!is_left(vnet, &header), "a TCP header that is shorter than one");
}
