//! The peer with hosts that do not behave as its own kind does.

use nook_net::{EXERCISE_PORT, Peer, PeerConfig};
use nook_net_api::Wire;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4Packet,
    Icmpv4Repr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

const MAC: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0, 0, 9]);
const ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 2, 9);

/// Returns a frame for the peer with a packet from `from` in it.
fn frame(from: Ipv4Address, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let config = PeerConfig::default();
    let (mac, checksums) = (EthernetAddress(config.mac), ChecksumCapabilities::default());
    let ethernet = EthernetRepr { src_addr: MAC, dst_addr: mac, ethertype: EthernetProtocol::Ipv4 };
    let (next_header, payload_len) = (protocol, payload.len());
    let ip = Ipv4Repr { src_addr: from, dst_addr: config.address, next_header, payload_len, hop_limit: 64 };
    let mut bytes = vec![0; 14 + 20 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    ip.emit(&mut Ipv4Packet::new_unchecked(frame.payload_mut()), &checksums);
    bytes[34..].copy_from_slice(payload);
    bytes
}

fn echo_request(sequence: u16) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest { ident: 1, seq_no: sequence, data: b"there?" };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes[..]), &ChecksumCapabilities::default());
    frame(ADDRESS, IpProtocol::Icmp, &bytes)
}

/// Returns a segment from this address; smoltcp fills in the rest.
fn segment(from: Ipv4Address, control: TcpControl, sequence: i32, acknowledged: Option<TcpSeqNumber>) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: 4000,
        dst_port: EXERCISE_PORT,
        control,
        seq_number: TcpSeqNumber(sequence),
        ack_number: acknowledged,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    let (to, checksums) = (PeerConfig::default().address, ChecksumCapabilities::default());
    repr.emit(&mut TcpPacket::new_unchecked(&mut bytes[..]), &from.into(), &to.into(), &checksums);
    frame(from, IpProtocol::Tcp, &bytes)
}

fn answers(peer: &mut Peer, now_ns: u64) -> Vec<Vec<u8>> {
    peer.due_ns(now_ns);
    let mut buffer = [0; 2048];
    std::iter::from_fn(|| peer.recv(&mut buffer).unwrap().map(|len| buffer[..len].to_vec())).collect()
}

fn tcp(frame: &[u8]) -> Option<TcpPacket<&[u8]>> {
    let ip = Ipv4Packet::new_checked(&frame[14..]).ok()?;
    (ip.next_header() == IpProtocol::Tcp).then(|| TcpPacket::new_checked(&frame[34..]).unwrap())
}

#[test]
fn the_first_echo_of_a_host_that_was_never_asked_for_is_answered() {
    let mut peer = Peer::new(PeerConfig::default());
    for sequence in 0..3 {
        peer.send(&echo_request(sequence)).unwrap();
        // Each time after longer than an address is remembered for.
        let answers = answers(&mut peer, 1_000_000_000 + u64::from(sequence) * 120_000_000_000);
        assert_eq!(answers.len(), 1, "one answer, and no question: {answers:x?}");
        let packet = Ipv4Packet::new_checked(&answers[0][14..]).unwrap();
        assert_eq!(
            (packet.dst_addr(), EthernetFrame::new_checked(&answers[0][..]).unwrap().dst_addr()),
            (ADDRESS, MAC)
        );
        let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        let repr = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(repr, Icmpv4Repr::EchoReply { ident: 1, seq_no: sequence, data: b"there?" });
    }
}

#[test]
fn connections_that_were_only_begun_do_not_keep_others_out() {
    let mut peer = Peer::new(PeerConfig::default());
    let mut now_ns = 1_000_000_000;
    // More than there are places for, from hosts that say nothing more, not even that they know of no connection.
    for host in 0..40 {
        peer.send(&segment(Ipv4Address::new(10, 0, 2, 100 + host), TcpControl::Syn, 7, None)).unwrap();
        answers(&mut peer, now_ns);
        now_ns += 1_000_000;
    }
    peer.send(&segment(ADDRESS, TcpControl::Syn, 7, None)).unwrap();
    let answers = answers(&mut peer, now_ns);
    let ours = answers.iter().filter(|frame| frame[..6] == MAC.0);
    let accepted = ours.filter_map(|frame| tcp(frame)).find(|tcp| tcp.dst_port() == 4000 && tcp.syn() && tcp.ack());
    let accepted = accepted.expect("the connection is accepted");
    assert_eq!(accepted.ack_number(), TcpSeqNumber(8));
}

#[test]
fn a_question_for_the_peers_address_is_answered_as_ever() {
    let config = PeerConfig::default();
    let mut peer = Peer::new(config);
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: MAC,
        source_protocol_addr: ADDRESS,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: config.address,
    };
    let mut bytes = vec![0; 60];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr { src_addr: MAC, dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Arp }
        .emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    peer.send(&bytes).unwrap();
    let answers = answers(&mut peer, 1_000_000_000);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][6..12], config.mac);
}
