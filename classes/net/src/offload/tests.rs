//! What is merged and cut up again is what it was; smoltcp says what a right frame is.

use std::convert::Infallible;

use nook_bus::VolatileSlice;
use nook_net_api::Room;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};

use super::headers::PSH;
use super::{Collector, Gso, Merger, Next, Splitter, Unfit, VnetHeader, Written};

const BUFFER_BYTES: usize = 2048;

/// Room for a driver without offloads.
fn one(bytes: &mut [u8]) -> Room<'_> {
    Room::one(VolatileSlice::from(bytes))
}

/// A segment to be sent, before anything is wrong with it.
#[derive(Clone)]
struct Segment {
    v6: bool,
    port: u16,
    sequence: i32,
    control: TcpControl,
    identification: u16,
    dont_fragment: bool,
    hop_limit: u8,
    payload: Vec<u8>,
}

impl Segment {
    fn new(v6: bool, sequence: i32, payload: usize) -> Segment {
        let bytes = (0..payload).map(|at| (at as i32).wrapping_mul(sequence | 1) as u8).collect();
        let control = TcpControl::None;
        let (port, identification, dont_fragment, hop_limit) = (5201, 7, true, 64);
        Segment { v6, port, sequence, control, identification, dont_fragment, hop_limit, payload: bytes }
    }

    fn frame(&self) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: self.port,
            dst_port: 80,
            control: self.control,
            seq_number: TcpSeqNumber(self.sequence),
            ack_number: Some(TcpSeqNumber(99)),
            window_len: 500,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &self.payload,
        };
        let ip_bytes = if self.v6 { 40 } else { 20 };
        let mut frame = vec![0; 14 + ip_bytes + tcp.buffer_len()];
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
        ethernet.set_ethertype(if self.v6 { 0x86dd.into() } else { 0x0800.into() });
        let body = ethernet.payload_mut();
        let checksums = ChecksumCapabilities::default();
        if self.v6 {
            let (from, to) =
                (Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 1), Ipv6Address::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
            let mut ip = Ipv6Packet::new_unchecked(body);
            ip.set_version(6);
            ip.set_payload_len(tcp.buffer_len() as u16);
            ip.set_next_header(IpProtocol::Tcp);
            ip.set_hop_limit(self.hop_limit);
            ip.set_src_addr(from);
            ip.set_dst_addr(to);
            let mut segment = TcpPacket::new_unchecked(ip.payload_mut());
            tcp.emit(&mut segment, &from.into(), &to.into(), &checksums);
        } else {
            let (from, to) = (Ipv4Address::new(10, 0, 0, 1), Ipv4Address::new(10, 0, 0, 2));
            let mut ip = Ipv4Packet::new_unchecked(body);
            ip.set_version(4);
            ip.set_header_len(20);
            ip.set_total_len((20 + tcp.buffer_len()) as u16);
            ip.set_ident(self.identification);
            ip.clear_flags();
            ip.set_dont_frag(self.dont_fragment);
            ip.set_hop_limit(self.hop_limit);
            ip.set_next_header(IpProtocol::Tcp);
            ip.set_src_addr(from);
            ip.set_dst_addr(to);
            ip.fill_checksum();
            let mut segment = TcpPacket::new_unchecked(ip.payload_mut());
            tcp.emit(&mut segment, &from.into(), &to.into(), &checksums);
        }
        frame
    }
}

/// Returns what comes out for the kernel: packets with their headers, in order.
fn merge(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut merger, mut packets) = (Merger::default(), Vec::new());
    for frame in frames {
        let mut bytes = frame.clone();
        let mut write = |packet: &[u8], _| {
            packets.push(packet.to_vec());
            Ok::<(), Infallible>(())
        };
        if !merger.take(&VolatileSlice::from(&mut bytes[..]).into(), &mut write).unwrap() {
            packets.push([&VnetHeader::default().to_bytes()[..], frame].concat());
        }
    }
    let write = |packet: &[u8], _| {
        packets.push(packet.to_vec());
        Ok::<(), Infallible>(())
    };
    merger.flush(write).unwrap();
    packets
}

/// Returns what comes out for the driver.
fn split(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new();
    let mut frames = Vec::new();
    for packet in packets {
        let (header, packet) = packet.split_first_chunk().unwrap();
        let mut bytes = vec![0; BUFFER_BYTES];
        let first = packet.len().min(BUFFER_BYTES);
        bytes[..first].copy_from_slice(&packet[..first]);
        splitter.rest(BUFFER_BYTES)[..packet.len() - first].copy_from_slice(&packet[first..]);
        let mut next =
            Some(splitter.begin(VnetHeader::from_bytes(*header), &one(&mut bytes), BUFFER_BYTES, packet.len()));
        while let Some(Next::Frame(len)) = next {
            frames.push(bytes[..len].to_vec());
            next = splitter.next(&one(&mut bytes));
        }
        assert_eq!(next, None, "all of it can be sent");
    }
    frames
}

fn gso_of(packet: &[u8]) -> Gso {
    VnetHeader::from_bytes(*packet.first_chunk().unwrap()).gso
}

/// Segments of 1,448 bytes and one of 700.
fn stream(v6: bool, full: i32) -> Vec<Segment> {
    let mut segments: Vec<_> = (0..full).map(|at| Segment::new(v6, 1000 + at * 1448, 1448)).collect();
    segments.push(Segment { control: TcpControl::Psh, ..Segment::new(v6, 1000 + full * 1448, 700) });
    segments
}

fn frames(segments: &[Segment]) -> Vec<Vec<u8>> {
    segments.iter().map(Segment::frame).collect()
}

#[test]
fn a_stream_is_one_packet_and_comes_apart_as_it_was() {
    for v6 in [false, true] {
        let frames = frames(&stream(v6, 20));
        let packets = merge(&frames);
        assert_eq!(packets.len(), 1);
        assert_eq!(gso_of(&packets[0]), if v6 { Gso::TcpV6 } else { Gso::TcpV4 });
        if v6 {
            assert_eq!(split(&packets), frames);
            continue;
        }
        // The kernel counts identifications up, as it may: the packets are never fragmented.
        for (at, (out, frame)) in split(&packets).iter().zip(&frames).enumerate() {
            let mut expected = Ipv4Packet::new_checked(frame[14..].to_vec()).unwrap();
            expected.set_ident(7 + at as u16);
            expected.fill_checksum();
            assert_eq!(out[14..], expected.into_inner());
        }
    }
}

/// Puts tags behind the addresses of each frame.
fn behind(tags: &[u8], mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.iter_mut().for_each(|frame| drop(frame.splice(12..12, tags.iter().copied())));
    frames
}

const TAG: [u8; 4] = [0x81, 0x00, 0xa0, 0x07];

#[test]
fn a_stream_behind_vlan_tags_is_one_packet_and_comes_apart_as_it_was() {
    let service = [0x88, 0xa8, 0x00, 0x08];
    for (v6, tags) in [(true, TAG.to_vec()), (false, TAG.to_vec()), (true, [service, TAG].concat())] {
        // IPv4's are numbered one by one, so that what is cut is what was merged.
        let segments = stream(v6, 20).into_iter().zip(7..).map(|(segment, identification)| Segment {
            identification,
            dont_fragment: false,
            ..segment
        });
        let frames = behind(&tags, frames(&segments.collect::<Vec<_>>()));
        let packets = merge(&frames);
        assert_eq!(packets.len(), 1, "{tags:x?}");
        let vnet = VnetHeader::from_bytes(*packets[0].first_chunk().unwrap());
        let ip = 14 + tags.len();
        let tcp = ip + if v6 { 40 } else { 20 };
        assert_eq!((vnet.csum_start, vnet.header_bytes, vnet.gso_bytes), (tcp as u16, tcp as u16 + 20, 1448));
        assert_eq!(split(&packets), frames, "{tags:x?}");
    }
}

#[test]
fn segments_of_different_vlans_are_of_different_packets() {
    let other = [0x81, 0x00, 0xa0, 0x08];
    let prior = [0x81, 0x00, 0x80, 0x07];
    let [first, second] = [1000, 2448].map(|sequence| Segment::new(true, sequence, 1448).frame());
    for (of, to) in [(&TAG[..], &other[..]), (&TAG, &prior), (&TAG, &[]), (&[], &TAG)] {
        let frames = [behind(of, vec![first.clone()]), behind(to, vec![second.clone()])].concat();
        let packets = merge(&frames);
        let bare: Vec<&[u8]> = packets.iter().map(|packet| &packet[VnetHeader::BYTES..]).collect();
        assert_eq!(bare, [&frames[0][..], &frames[1][..]], "{of:x?} {to:x?}");
    }
    assert_eq!(merge(&behind(&TAG, vec![first, second])).len(), 1);
}

#[test]
fn a_frame_that_is_cut_off_behind_its_tags_goes_by_itself() {
    let whole = behind(&[TAG; 3].concat(), frames(&stream(false, 1))).remove(0);
    for len in 14..90 {
        assert_eq!(merge(&[whole[..len].to_vec()]).len(), 1, "{len} bytes");
    }
}

#[test]
fn a_packet_is_no_longer_than_ip_can_say() {
    let packets = merge(&frames(&stream(false, 100)));
    assert_eq!(packets.len(), 3, "45 segments of 1,448 bytes fit each");
    assert!(packets.iter().all(|packet| packet.len() <= VnetHeader::BYTES + super::LONGEST_BYTES));
    assert_eq!(split(&packets).len(), 101);
}

#[test]
fn a_lone_segment_goes_as_it_came() {
    let frame = Segment::new(false, 5, 300).frame();
    let packets = merge(std::slice::from_ref(&frame));
    assert_eq!(packets, [[&VnetHeader::default().to_bytes()[..], &frame].concat()]);
}

#[test]
fn what_does_not_continue_a_packet_begins_another_one_or_goes_by_itself() {
    let base = Segment::new(false, 1000, 1448);
    let next = Segment::new(false, 2448, 1448);
    let odd = [
        ("a gap", Segment { sequence: 2449, ..next.clone() }),
        ("the same again", base.clone()),
        ("a longer one", Segment::new(false, 2448, 1449)),
        ("another time to live", Segment { hop_limit: 63, ..next.clone() }),
        ("another port", Segment { port: 1, ..next.clone() }),
        ("an end", Segment { control: TcpControl::Fin, ..next.clone() }),
        ("a reset", Segment { control: TcpControl::Rst, ..next.clone() }),
        ("a mere acknowledgement", Segment { payload: Vec::new(), ..next.clone() }),
        ("one that may be fragmented", Segment { dont_fragment: false, ..next.clone() }),
    ];
    for (what, segment) in odd {
        let frames = [base.frame(), segment.frame()];
        let packets = merge(&frames);
        let bare: Vec<&[u8]> = packets.iter().map(|packet| &packet[VnetHeader::BYTES..]).collect();
        assert_eq!(bare, [&frames[0][..], &frames[1][..]], "{what}");
    }
    assert_eq!(merge(&[base.frame(), next.frame()]).len(), 1);
}

#[test]
fn packets_that_may_be_fragmented_must_be_numbered_one_by_one() {
    let segment = |at: i32, identification| Segment {
        dont_fragment: false,
        identification,
        ..Segment::new(false, 1000 + at * 1448, 1448)
    };
    let numbered = frames(&[segment(0, 65535), segment(1, 0), segment(2, 1)]);
    assert_eq!(merge(&numbered).len(), 1);
    assert_eq!(split(&merge(&numbered)), numbered);
    assert_eq!(merge(&frames(&[segment(0, 5), segment(1, 5)])).len(), 2);
}

#[test]
fn a_push_ends_a_packet_and_is_the_last_frames_only() {
    let mut segments = stream(true, 3);
    segments[1].control = TcpControl::Psh;
    let frames = frames(&segments);
    let packets = merge(&frames);
    assert_eq!(packets.len(), 2);
    let out = split(&packets);
    assert_eq!(out, frames);
    assert_eq!(out.iter().filter(|frame| frame[14 + 40 + 13] & PSH != 0).count(), 2);
}

#[test]
fn a_byte_that_changed_on_the_way_is_not_covered_up_by_a_new_checksum() {
    let whole = frames(&stream(false, 2));
    for at in 14..whole[1].len() {
        let mut damaged = whole.clone();
        damaged[1][at] ^= 0x10;
        let out = merge(&damaged);
        let same = out.iter().any(|packet| packet[VnetHeader::BYTES..] == damaged[1]);
        assert!(same, "a frame whose byte {at} is wrong goes to the kernel as it is");
    }
}

#[test]
fn connections_are_collected_beside_each_other_and_each_stays_in_order() {
    let ports = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    let of = |port| stream(true, 4).into_iter().map(move |segment| Segment { port, ..segment }.frame());
    let streams: Vec<Vec<_>> = ports.iter().map(|&port| of(port).collect()).collect();
    let mixed: Vec<_> =
        (0..5).flat_map(|at| streams.iter().map(move |stream: &Vec<Vec<u8>>| stream[at].clone())).collect();
    let out = split(&merge(&mixed));
    assert_eq!(out.len(), mixed.len());
    for stream in &streams {
        let order: Vec<_> = out.iter().filter(|frame| frame[54..56] == stream[0][54..56]).collect();
        assert_eq!(order, stream.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_checksum_that_the_kernel_began_is_completed() {
    let frame = Segment::new(false, 77, 333).frame();
    let headers = super::headers::Headers::of(&frame[..54], frame.len()).unwrap();
    let mut begun = frame.clone();
    let pseudo = headers.pseudo_sum(&frame, 20 + 333);
    headers.set_checksum(&mut begun, pseudo);
    let vnet = VnetHeader { needs_checksum: true, csum_start: 34, csum_offset: 16, ..VnetHeader::default() };
    assert_eq!(split(&[[&vnet.to_bytes()[..], &begun].concat()]), [frame]);
}

#[test]
fn what_makes_no_frame_is_named_and_harms_nothing() {
    let mut splitter = Splitter::new();
    let mut bytes = vec![0; BUFFER_BYTES];
    let gso = VnetHeader { gso: Gso::TcpV4, gso_bytes: 1448, ..VnetHeader::default() };
    let checksum = VnetHeader { needs_checksum: true, csum_start: 60000, csum_offset: 16, ..VnetHeader::default() };
    for (vnet, len, why) in [
        (VnetHeader::default(), BUFFER_BYTES + 1, Unfit::TooLong),
        (gso, 60, Unfit::Headers),
        (gso, super::LONGEST_BYTES + 16, Unfit::TooLong),
        (VnetHeader { gso: Gso::Other(5), ..gso }, 60, Unfit::Kind),
        (checksum, 60, Unfit::Offsets),
    ] {
        let next = splitter.begin(vnet, &one(&mut bytes), BUFFER_BYTES, len);
        assert_eq!(next, Next::Unfit(why), "{vnet:?}, {len}");
        assert_eq!(splitter.next(&one(&mut bytes)), None);
    }
}

/// Returns what the kernel is given by an interface whose kernel answers packets of several frames with `answer`.
fn written(frames: &[Vec<u8>], answer: Written) -> (Vec<Vec<u8>>, u32) {
    let (mut collector, mut packets) = (Collector::new("nook0"), Vec::new());
    let mut write = |packet: &[u8]| {
        let outcome = if gso_of(packet) == Gso::One { Written::Taken } else { answer };
        if outcome == Written::Taken {
            packets.push(packet.to_vec());
        }
        Ok::<_, Infallible>(outcome)
    };
    for frame in frames {
        let mut bytes = frame.clone();
        if !collector.take(&VolatileSlice::from(&mut bytes[..]).into(), &mut write).unwrap() {
            write(&[&VnetHeader::default().to_bytes()[..], frame].concat()).unwrap();
        }
    }
    let no_room = collector.flush(&mut write).unwrap();
    (packets, no_room)
}

#[test]
fn a_kernel_that_takes_no_packet_of_several_frames_gets_each_of_them_and_in_order() {
    for v6 in [false, true] {
        // Two packets: the second is not tried.
        let frames = frames(
            &(0..60)
                .map(|at| Segment {
                    identification: at as u16,
                    dont_fragment: false,
                    ..Segment::new(v6, 1000 + at * 1448, 1448)
                })
                .collect::<Vec<_>>(),
        );
        let (packets, no_room) = written(&frames, Written::Refused);
        assert_eq!(no_room, 0);
        let bare: Vec<&[u8]> = packets.iter().map(|packet| &packet[VnetHeader::BYTES..]).collect();
        assert!(bare == frames, "all of them, in order");
        assert!(packets.iter().all(|packet| gso_of(packet) == Gso::One));
    }
}

#[test]
fn a_packet_for_which_there_is_no_room_counts_as_its_frames_and_collecting_goes_on() {
    let frames = frames(&stream(false, 20));
    assert_eq!(written(&frames, Written::NoRoom), (Vec::new(), 21));
    assert_eq!(written(&frames, Written::Taken).0.len(), 1);
}
