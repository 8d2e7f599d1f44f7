//! Clients that nobody would write on purpose: each harms itself, and a good one beside it is served.

mod rig;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use nook_block_api::Op;
use nook_seed::Rng;
use rig::{Plan, Serving};

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    [&b"IHAVEOPT"[..], &number.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let magic = 0x2560_9513_u32.to_be_bytes();
    let words = [&magic[..], &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    [&words[..], &cookie.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

fn read<const N: usize>(stream: &mut UnixStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the answers to an option up to the last one, and returns that one's kind.
fn answers(stream: &mut UnixStream) -> u32 {
    loop {
        let head: [u8; 20] = read(stream);
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        let mut data = vec![0; number(16) as usize];
        stream.read_exact(&mut data).unwrap();
        if !matches!(number(12), 2..=4) {
            return number(12);
        }
    }
}

/// Connects, up to the first request.
fn ready(serving: &Serving, structured: bool) -> UnixStream {
    let mut stream = serving.connect();
    assert_eq!(&read::<18>(&mut stream)[..16], b"NBDMAGICIHAVEOPT");
    stream.write_all(&3_u32.to_be_bytes()).unwrap();
    if structured {
        stream.write_all(&option(STRUCTURED_REPLY, &[])).unwrap();
        assert_eq!(answers(&mut stream), 1);
    }
    stream.write_all(&option(GO, &[0; 6])).unwrap();
    assert_eq!(answers(&mut stream), 1);
    stream
}

/// Reads a simple reply without data; its error and cookie.
fn reply(stream: &mut UnixStream) -> (u32, u64) {
    let bytes: [u8; 16] = read(stream);
    assert_eq!(bytes[..4], 0x6744_6698_u32.to_be_bytes());
    (u32::from_be_bytes(bytes[4..8].try_into().unwrap()), u64::from_be_bytes(bytes[8..].try_into().unwrap()))
}

/// Waits for the end of the connection, whatever comes before.
fn is_closed(mut stream: UnixStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// A good client writes, flushes and reads.
fn is_served(serving: &Serving) {
    let mut stream = ready(serving, false);
    stream.write_all(&request(0, WRITE, 1, 1 << 19, 4096)).unwrap();
    stream.write_all(&[0xab; 4096]).unwrap();
    assert_eq!(reply(&mut stream), (0, 1));
    stream.write_all(&request(0, FLUSH, 2, 0, 0)).unwrap();
    assert_eq!(reply(&mut stream), (0, 2));
    stream.write_all(&request(0, READ, 3, 1 << 19, 4096)).unwrap();
    assert_eq!(reply(&mut stream), (0, 3));
    assert_eq!(read::<4096>(&mut stream), [0xab; 4096]);
    stream.write_all(&request(0, DISCONNECT, 4, 0, 0)).unwrap();
    is_closed(stream);
}

#[test]
fn ten_thousand_requests_without_reading_stay_in_the_clients_socket() {
    let serving = Plan::disk(8).serve();
    for structured in [true, false] {
        let stream = ready(&serving, structured);
        let sending = std::thread::spawn({
            let mut stream = stream.try_clone().unwrap();
            move || {
                for cookie in 0..10_000 {
                    if stream.write_all(&request(0, READ, cookie, 0, 1 << 20)).is_err() {
                        return;
                    }
                }
            }
        });
        is_served(&serving);
        is_served(&serving);
        serving.comes_to_rest();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
        sending.join().unwrap();
        is_served(&serving);
    }
    let medium = serving.end();
    // Of 20,000 MiB that were asked for: what one client may have waiting, and what the kernel holds.
    assert!(medium.counts[&Op::Read] < 200, "{:?}", medium.counts);
}

#[test]
fn ten_thousand_requests_are_all_answered_when_they_are_read_in_the_end() {
    let serving = Plan { seed: 5, ..Plan::disk(8) }.serve();
    let mut stream = ready(&serving, false);
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for cookie in 0..10_000 {
            sender.write_all(&request(0, WRITE, cookie, cookie % 16384 * 512, 512)).unwrap();
            sender.write_all(&[cookie as u8; 512]).unwrap();
        }
    });
    let mut answered = vec![false; 10_000];
    for _ in 0..10_000 {
        let (error, cookie) = reply(&mut stream);
        assert_eq!(error, 0);
        assert!(!std::mem::replace(&mut answered[cookie as usize], true), "{cookie} was answered twice");
    }
    sending.join().unwrap();
    let medium = serving.end();
    for cookie in 0..10_000 {
        assert_eq!(medium.content[cookie * 512..][..512], [cookie as u8; 512]);
    }
}

#[test]
fn a_client_that_hangs_at_any_byte_of_its_requests_holds_up_nobody() {
    let serving = Plan::disk(2).serve();
    let write = [request(0, WRITE, 1, 0, 8192), vec![7; 8192]].concat();
    let hanging: Vec<_> = [0, 1, 27, 28, 29, 4096, 8219]
        .map(|len| {
            let mut stream = ready(&serving, false);
            stream.write_all(&write[..len]).unwrap();
            stream
        })
        .into();
    is_served(&serving);
    serving.comes_to_rest();
    drop(hanging);
    is_served(&serving);
    serving.comes_to_rest();
    let medium = serving.end();
    assert_eq!(medium.content[..8192], rig::first_content(8192)[..], "nothing of half a write was written");
}

#[test]
fn a_client_that_goes_away_amid_its_requests_takes_nothing_with_it() {
    for seed in 0..10 {
        let serving = Plan { seed, ..Plan::disk(8) }.serve();
        for round in 0..20_u64 {
            let mut stream = ready(&serving, round % 2 == 0);
            for cookie in 0..round {
                let (command, data) = if cookie % 3 == 0 { (READ, 0) } else { (WRITE, 64 << 10) };
                // Not where the good client writes: what these asked for may be done after they went.
                let offset = (1 << 20) + (cookie << 16);
                stream.write_all(&request(0, command, cookie, offset, 64 << 10)).unwrap();
                stream.write_all(&vec![round as u8; data]).unwrap();
            }
            stream.write_all(&request(0, WRITE, 99, 0, 4 << 20)).unwrap();
            stream.write_all(&[0; 100_000]).unwrap();
            drop(stream);
        }
        is_served(&serving);
        serving.end();
    }
}

#[test]
fn lengths_that_are_lies_end_in_a_refusal_or_a_wait_for_what_was_promised() {
    let serving = Plan::disk(1).serve();
    // A write of 4 GiB to a disk of 1 MiB: its data is skipped, so that what follows is not taken for requests.
    let mut stream = ready(&serving, false);
    stream.write_all(&request(0, WRITE, 1, 0, u32::MAX)).unwrap();
    stream.write_all(&request(0, READ, 2, 0, 512)).unwrap();
    is_served(&serving);
    // One that is refused and sent in full.
    let mut whole = ready(&serving, false);
    whole.write_all(&request(0, WRITE, 3, 1 << 20, 32 << 20)).unwrap();
    whole.write_all(&vec![0; 32 << 20]).unwrap();
    assert_eq!(reply(&mut whole), (28, 3));
    whole.write_all(&request(0, FLUSH, 4, 0, 0)).unwrap();
    assert_eq!(reply(&mut whole), (0, 4));
    // An option of 4 GiB is skipped, one of a megabyte is skipped and refused.
    let mut long = serving.connect();
    read::<18>(&mut long);
    long.write_all(&3_u32.to_be_bytes()).unwrap();
    long.write_all(&option(GO, &vec![0; 1 << 20])).unwrap();
    assert_eq!(answers(&mut long), (1 << 31) + 9);
    long.write_all(&[&b"IHAVEOPT"[..], &GO.to_be_bytes(), &u32::MAX.to_be_bytes()].concat()).unwrap();
    is_served(&serving);
    // Lengths within an option that do not agree.
    for data in [&[0, 0, 0, 9, 0, 0][..], &[0; 5], &[0, 0, 0, 0, 0, 7], &[0xff; 6]] {
        let mut stream = serving.connect();
        read::<18>(&mut stream);
        stream.write_all(&[&3_u32.to_be_bytes()[..], &option(GO, data)].concat()).unwrap();
        assert_eq!(answers(&mut stream), (1 << 31) + 3, "{data:?}");
    }
    let medium = serving.end();
    assert!(!medium.counts.contains_key(&Op::Discard));
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    let serving = Plan::disk(1).serve();
    for flags in [0_u32, 4, u32::MAX] {
        let mut stream = serving.connect();
        stream.write_all(&flags.to_be_bytes()).unwrap();
        is_closed(stream);
    }
    let mut stream = serving.connect();
    stream.write_all(&[&3_u32.to_be_bytes()[..], &[0; 16]].concat()).unwrap();
    is_closed(stream);
    let mut stream = ready(&serving, true);
    stream.write_all(&[0; 28]).unwrap();
    is_closed(stream);
    let mut stream = serving.connect();
    stream.write_all(&[&3_u32.to_be_bytes()[..], &option(1, b"no such export")].concat()).unwrap();
    is_closed(stream);
    is_served(&serving);
}

#[test]
fn the_old_way_to_choose_an_export_is_answered_with_or_without_zeroes() {
    let serving = Plan::disk(1).serve();
    for (flags, zeroes) in [(1_u32, 124), (3, 0)] {
        let mut stream = serving.connect();
        read::<18>(&mut stream);
        stream.write_all(&[&flags.to_be_bytes()[..], &option(1, b"")].concat()).unwrap();
        let answer: [u8; 10] = read(&mut stream);
        assert_eq!(answer[..8], (1_u64 << 20).to_be_bytes());
        assert_eq!(answer[9] & 1, 1, "flags must be said to be there");
        let mut rest = vec![1; zeroes];
        stream.read_exact(&mut rest).unwrap();
        assert!(rest.iter().all(|&byte| byte == 0));
        stream.write_all(&request(1, READ, 5, 512, 512)).unwrap();
        assert_eq!(reply(&mut stream), (0, 5), "FUA is to be taken with every command");
        assert_eq!(read::<512>(&mut stream), [1; 512]);
    }
}

#[test]
fn what_was_asked_before_the_disconnect_is_done() {
    let serving = Plan { seed: 3, ..Plan::disk(4) }.serve();
    let mut stream = ready(&serving, false);
    let mut all = Vec::new();
    for cookie in 0..64 {
        all.extend(request(0, WRITE, cookie, cookie << 14, 1 << 14));
        all.extend([cookie as u8; 1 << 14]);
    }
    all.extend(request(0, DISCONNECT, 0, 0, 0));
    stream.write_all(&all).unwrap();
    let mut answered: Vec<_> = (0..64).map(|_| reply(&mut stream)).collect();
    answered.sort();
    assert_eq!(answered, (0..64).map(|cookie| (0, cookie)).collect::<Vec<_>>());
    is_closed(stream);
    let medium = serving.end();
    assert!((0..64).all(|at| medium.content[at << 14..][..1 << 14] == [at as u8; 1 << 14]));
}

#[test]
fn more_clients_than_there_are_places_wait_for_one() {
    let serving = Plan::disk(1).serve();
    let mut all: Vec<_> = (0..32).map(|_| ready(&serving, false)).collect();
    let mut late = serving.connect();
    // The others are served.
    for stream in &mut all {
        stream.write_all(&request(0, FLUSH, 7, 0, 0)).unwrap();
        assert_eq!(reply(stream), (0, 7));
    }
    serving.comes_to_rest();
    drop(all.pop());
    assert_eq!(&read::<18>(&mut late)[..8], b"NBDMAGIC");
}

#[test]
fn a_client_that_never_ends_its_handshake_gives_way_to_one_that_waits() {
    let serving = Plan::disk(1).serve();
    let mut hanging: Vec<_> = (0..32).map(|_| serving.connect()).collect();
    for stream in &mut hanging {
        read::<18>(stream);
    }
    // Which takes as long as a client may take.
    is_served(&serving);
    is_closed(hanging.remove(0));
}

#[test]
fn random_bytes_after_any_beginning_end_nothing_but_their_connection() {
    let serving = Plan::disk(1).serve();
    let mut rng = Rng::new(1);
    let good = [
        &3_u32.to_be_bytes()[..],
        &option(STRUCTURED_REPLY, &[]),
        &option(GO, &[0; 6]),
        &request(0, READ, 1, 0, 4096),
        &request(0, WRITE, 2, 4096, 4096),
        &[5; 4096],
        &request(0, FLUSH, 3, 0, 0),
    ]
    .concat();
    for _ in 0..300 {
        let mut bytes = good[..rng.index(good.len())].to_vec();
        let more = rng.index(200);
        bytes.extend(std::iter::repeat_with(|| rng.word() as u8).take(more));
        for _ in 0..rng.below(3) {
            let at = rng.index(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        let mut stream = serving.connect();
        // It may be closed before all of it was sent.
        let _ = stream.write_all(&bytes);
    }
    is_served(&serving);
}

#[test]
fn a_disk_that_is_gone_ends_its_connections_and_takes_none() {
    use nook_block_api::BlockBackend;
    let mut serving = Plan::disk(1).serve();
    let stream = ready(&serving, false);
    serving.order(|server| server.detach().unwrap());
    is_closed(stream);
    is_closed(serving.connect());
    serving.order(|server| server.attach(&rig::geometry(1)).unwrap());
    is_served(&serving);
}
