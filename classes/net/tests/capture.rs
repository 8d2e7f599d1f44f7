//! What a capture file holds, and what happens to the traffic when it cannot be written.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use nook_bus::{Clock, VolatileSlice};
use nook_net::{Captured, Passed, Pcap};
use nook_net_api::{Incoming, NetBackend, Outgoing, Room};

/// Takes frames, and gives those that the test put there.
#[derive(Default)]
struct Outlet {
    taken: Vec<Vec<u8>>,
    to_give: VecDeque<Vec<u8>>,
}

impl NetBackend for Outlet {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        let mut bytes = vec![0; frame.len_bytes()];
        frame.copy_to(&mut bytes[..]);
        self.taken.push(bytes);
        Ok(true)
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        Ok(self.to_give.pop_front().map(|frame| {
            room.copy_from(0, &frame[..]);
            Outgoing { len_bytes: frame.len(), side: None }
        }))
    }

    fn link(&mut self, _up: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_mac(&mut self, _mac: [u8; 6]) -> io::Result<()> {
        Ok(())
    }
}

/// One packet of a file: seconds, nanoseconds, its length on the cable, its bytes.
type Packet = (u32, u32, u32, Vec<u8>);

/// Reads a capture file of this machine's byte order, and fails on anything that is not one to its last byte.
fn parse(path: &Path) -> Vec<Packet> {
    let file = std::fs::read(path).expect("the capture file");
    let mut rest = &file[..];
    let mut bytes = |len: usize| {
        let (taken, left) = rest.split_at_checked(len)?;
        rest = left;
        Some(taken.to_vec())
    };
    let word = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    let header = bytes(24).expect("a file header");
    assert_eq!(word(&header[0..4]), 0xa1b2_3c4d, "the magic number for nanoseconds");
    assert_eq!(header[4..8], [2_u16.to_ne_bytes(), 4_u16.to_ne_bytes()].concat(), "version 2.4");
    assert_eq!(header[8..16], [0; 8], "reserved fields");
    assert_eq!(word(&header[20..24]), 1, "LINKTYPE_ETHERNET");
    let mut packets = Vec::new();
    while let Some(record) = bytes(16) {
        let kept = word(&record[8..12]);
        assert!(kept <= word(&header[16..20]), "longer than the file says that packets are");
        let packet = bytes(kept as usize).expect("the packet's bytes");
        packets.push((word(&record[0..4]), word(&record[4..8]), word(&record[12..16]), packet));
    }
    assert!(bytes(1).is_none(), "a record that is cut off");
    packets
}

fn up(backend: &mut impl NetBackend, frame: &[u8]) -> bool {
    backend.deliver(VolatileSlice::from(&mut frame.to_vec()[..]).into()).expect("the outlet takes frames")
}

fn down(backend: &mut impl NetBackend) -> Option<Vec<u8>> {
    let mut buffer = vec![0xee; 2048];
    let Outgoing { len_bytes: len, .. } =
        backend.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).expect("the outlet gives frames")?;
    buffer.truncate(len);
    Some(buffer)
}

#[test]
fn a_capture_holds_the_frames_of_both_directions_in_their_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("both.pcap");
    let mut backend = Captured::new(Outlet::default(), Some(Pcap::create(&path).expect("a capture")), Clock::Monotonic);
    backend.inner_mut().to_give.push_back(vec![2; 1514]);
    up(&mut backend, &[1; 60]);
    assert_eq!(down(&mut backend), Some(vec![2; 1514]));
    assert_eq!(down(&mut backend), None);
    up(&mut backend, &[3; 61]);
    assert_eq!(backend.inner().taken, [vec![1; 60], vec![3; 61]]);
    let totals = backend.take_capture().expect("the capture").finish().expect("it can be written");
    let packets = parse(&path);
    let frames: Vec<_> = packets.iter().map(|packet| packet.3.clone()).collect();
    assert_eq!(frames, [vec![1; 60], vec![2; 1514], vec![3; 61]]);
    assert!(
        packets.iter().all(|(_, nanoseconds, len, bytes)| *nanoseconds < 1_000_000_000 && *len as usize == bytes.len())
    );
    assert_eq!(totals.packets, 3);
    assert_eq!(totals.file_bytes, std::fs::metadata(&path).expect("the file").len());
}

/// Reads a pcapng file of this machine's byte order: type and body of each block, whose length stands at both ends.
fn blocks(file: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let (mut at, mut blocks) = (0, Vec::new());
    while at < file.len() {
        let len = word(at + 4) as usize;
        assert!(len.is_multiple_of(4) && word(at + len - 4) as usize == len, "at {at}");
        blocks.push((word(at), file[at + 8..at + len - 4].to_vec()));
        at += len;
    }
    blocks
}

/// Reads a block's options: code and value.
fn options(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut options = Vec::new();
    loop {
        let number = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        let (code, len) = (number(0), usize::from(number(2)));
        if code == 0 {
            assert_eq!(rest, [0; 4], "the last one");
            return options;
        }
        options.push((code, rest[4..4 + len].to_vec()));
        rest = &rest[4 + len.next_multiple_of(4)..];
    }
}

#[test]
fn pcapng_says_which_way_a_frame_went_and_what_was_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("both.pcapng");
    let mut capture = Pcap::create(&path).expect("a capture");
    let at_ns = 1_700_000_000_123_456_789u64;
    for (len, passed) in [(61, Passed::In), (60, Passed::Out), (62, Passed::Refused)] {
        capture.record(at_ns, &vec![len; len.into()], passed).expect("recording");
    }
    let totals = capture.finish().expect("writing");
    let file = std::fs::read(&path).expect("the file");
    assert_eq!((totals.packets, totals.file_bytes), (3, file.len() as u64));
    let blocks = blocks(&file);
    assert_eq!(blocks.iter().map(|block| block.0).collect::<Vec<_>>(), [0x0a0d_0d0a, 1, 6, 6, 6]);
    assert_eq!(options(&blocks[0].1[16..]), [(4, b"nook-run".to_vec())]);
    assert_eq!(options(&blocks[1].1[8..]), [(9, vec![9])], "times are nanoseconds");
    let flags = |direction: u32| (2, direction.to_ne_bytes().to_vec());
    let dropped = (1, b"dropped: the interface did not take it".to_vec());
    let expected = [(61, vec![flags(1)]), (60, vec![flags(2)]), (62, vec![flags(1), dropped])];
    for ((_, body), (len, expected)) in blocks[2..].iter().zip(expected) {
        let word = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(u64::from(word(4)) << 32 | u64::from(word(8)), at_ns);
        assert_eq!((word(0), word(12), word(16)), (0, len, len));
        assert_eq!(body[20..20 + len as usize], vec![len as u8; len as usize]);
        assert_eq!(options(&body[20 + (len as usize).next_multiple_of(4)..]), expected);
    }
}

#[test]
fn a_packet_is_stamped_with_seconds_and_nanoseconds() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("stamp.pcap");
    let mut capture = Pcap::create(&path).expect("a capture");
    capture.record(1_700_000_000_123_456_789, &[9; 60], Passed::In).expect("recording");
    capture.finish().expect("writing");
    assert_eq!(parse(&path), [(1_700_000_000, 123_456_789, 60, vec![9; 60])]);
}

#[test]
fn a_capture_that_is_dropped_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("dropped.pcap");
    let mut capture = Pcap::create(&path).expect("a capture");
    for number in 0..1000_u32 {
        capture.record(u64::from(number), &[number as u8; 1000], Passed::Out).expect("recording");
    }
    drop(capture);
    assert_eq!(parse(&path).len(), 1000);
}

#[test]
fn what_is_recorded_reaches_the_file_after_a_while_though_nothing_more_happens() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("later.pcap");
    let mut backend = Captured::new(Outlet::default(), Some(Pcap::create(&path).expect("a capture")), Clock::Monotonic);
    up(&mut backend, &[1; 60]);
    let due = backend.service(1_000_000_000).expect("it works").expect("it wants to be called again");
    assert!(due > 1_000_000_000);
    backend.service(due).expect("it works");
    assert_eq!(parse(&path).len(), 1);
    assert_eq!(backend.service(due + 1).expect("it works"), None, "with nothing to write it wants nothing");
}

#[test]
fn a_full_disk_ends_the_capture_and_not_the_traffic() {
    let mut backend =
        Captured::new(Outlet::default(), Some(Pcap::create("/dev/full").expect("a capture")), Clock::Monotonic);
    for _ in 0..1000 {
        assert!(up(&mut backend, &[1; 1000]));
    }
    assert_eq!(backend.inner().taken.len(), 1000, "every frame came through");
    let error = backend.capture_error().expect("the capture ended");
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("/dev/full"), "{error}");
    assert!(backend.take_capture().is_none());
}

#[test]
fn a_capture_that_cannot_be_created_is_an_error_that_names_it() {
    let Err(error) = Pcap::create("/nonexistent/x.pcap") else { panic!("there is no such directory") };
    assert!(error.to_string().contains("/nonexistent/x.pcap"), "{error}");
}

#[test]
fn without_a_capture_frames_just_pass() {
    let mut backend = Captured::new(Outlet::default(), None, Clock::Monotonic);
    assert!(up(&mut backend, &[1; 60]));
    assert_eq!(backend.inner().taken, [[1; 60]]);
    assert_eq!(backend.service(1).expect("it works"), None);
}

#[test]
fn a_second_capture_to_a_file_is_refused_and_the_first_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frames.pcap");
    let mut first = Pcap::create(&path).unwrap();
    first.record(1_000_000_000, &[0xff; 60], Passed::In).unwrap();
    first.flush().unwrap();
    let before = std::fs::read(&path).unwrap();
    // By another name, too.
    let other = folder.path().join("other.pcap");
    std::fs::hard_link(&path, &other).unwrap();
    for path in [&path, &other] {
        let Err(error) = Pcap::create(path) else { panic!("two captures in one file") };
        assert!(error.to_string().contains("another capture is being written to it"), "{error}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    first.finish().unwrap();
    let second = Pcap::create(&path).unwrap();
    assert_eq!(second.finish().unwrap().packets, 0);
}
