//! A client's conversation without a socket: the same bytes in any pieces lead to the same answers, and no bytes lead
//! to a panic or beyond a bound.

use nook_block_api::{Geometry, Op};
use nook_bus::VolatileSlice;
use nook_seed::Rng;

use crate::export::{Export, Refusal};
use crate::limits::{HELD_BYTES, INBOX_BYTES, PIECE_BYTES, REPLY_BYTES, REQUESTS};
use crate::protocol::{error, option};
use crate::session::{Piece, Session};

const BLOCKS: u64 = 1 << 14;

fn export() -> Export {
    let geometry = Geometry {
        block_bytes: 512,
        blocks: BLOCKS,
        max_blocks: 256,
        volatile_cache: true,
        write_zeroes: true,
        ..Geometry::default()
    };
    Export { name: "disk".into(), description: "of a test".into(), read_only: false, geometry }
}

fn option_bytes(number: u32, data: &[u8]) -> Vec<u8> {
    [&b"IHAVEOPT"[..], &number.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

fn request(flags: u16, command: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let magic = 0x2560_9513_u32.to_be_bytes();
    let words = [&magic[..], &flags.to_be_bytes(), &command.to_be_bytes()].concat();
    [&words[..], &cookie.to_be_bytes(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// Returns the bytes of a client that does a bit of everything.
fn conversation(rng: &mut Rng) -> Vec<u8> {
    let mut bytes = 3_u32.to_be_bytes().to_vec();
    for _ in 0..rng.below(4) {
        let (name, asked) = (&b"disk"[..rng.index(5)], rng.below(3) as u16);
        let mut info = [&(name.len() as u32).to_be_bytes()[..], name, &asked.to_be_bytes()].concat();
        info.extend((0..asked).flat_map(u16::to_be_bytes));
        match rng.below(5) {
            0 => bytes.extend(option_bytes(option::LIST, &[])),
            1 => bytes.extend(option_bytes(option::INFO, &info)),
            2 => bytes.extend(option_bytes(option::START_TLS, &[])),
            3 => bytes.extend(option_bytes(rng.word() as u32, &[7; 9])),
            _ => bytes.extend(option_bytes(option::SET_META_CONTEXT, &[0; 8])),
        }
    }
    if rng.one_in(2) {
        bytes.extend(option_bytes(option::STRUCTURED_REPLY, &[]));
    }
    bytes.extend(option_bytes(option::GO, &[0; 6]));
    for cookie in 0..rng.below(40) {
        let offset = rng.below(BLOCKS) * 512;
        let length = (rng.below(64) * 512) as u32;
        let command = rng.below(8) as u16;
        let flags = if rng.one_in(3) { rng.below(4) as u16 } else { 0 };
        match command {
            // A disconnect would be the end.
            2 => {}
            3 => bytes.extend(request(0, 3, cookie, 0, 0)),
            1 => {
                bytes.extend(request(flags, 1, cookie, offset, length));
                bytes.extend(std::iter::repeat_n(cookie as u8, length as usize));
            }
            _ => bytes.extend(request(flags, command, cookie, offset, length)),
        }
    }
    bytes.extend(request(0, 2, 0, 0, 0));
    bytes
}

/// A client, and what plays the disk: a block's content is its number, again and again.
struct Played {
    session: Session,
    export: Export,
    answers: Vec<u8>,
    asked: Vec<Piece>,
    under_way: Vec<Piece>,
}

impl Played {
    fn new() -> Self {
        let (session, export) = (Session::new(), export());
        Played { session, export, answers: Vec::new(), asked: Vec::new(), under_way: Vec::new() }
    }

    /// Gives it at most this many bytes; how many it took.
    fn receive(&mut self, bytes: &[u8]) -> usize {
        let Some(room) = self.session.landing() else { return 0 };
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.session.landed(len, &self.export);
        len
    }

    fn ask(&mut self) -> bool {
        let Some(mut piece) = self.session.next_piece(&self.export) else { return false };
        if let Some(data) = piece.data.take() {
            assert_eq!(data.len() as u64, piece.len);
            self.session.emptied(data);
        }
        assert!(piece.len <= PIECE_BYTES.into() || piece.op == Op::WriteZeroes);
        assert!(piece.at + piece.len <= BLOCKS * 512 && piece.at.is_multiple_of(512));
        let Piece { task, op, at, len, fua, .. } = piece;
        self.asked.push(Piece { task: 0, op, at, len, fua, data: None });
        self.under_way.push(Piece { task, op, at, len, fua, data: None });
        true
    }

    fn complete(&mut self, index: usize, fails: bool) {
        let piece = self.under_way.remove(index);
        let mut data: Vec<u8> = (0..piece.len as usize / 512).flat_map(|at| [at as u8; 512]).collect();
        let data = (piece.op == Op::Read && !fails).then(|| VolatileSlice::from(&mut data[..]));
        let outcome = if fails { Err(Refusal { error: error::EIO, message: "planned" }) } else { Ok(()) };
        self.session.completed(&piece, outcome, data.as_ref());
    }

    fn send(&mut self, most: usize) {
        let bytes = self.session.to_send();
        let len = bytes.len().min(most);
        self.answers.extend(&bytes[..len]);
        self.session.sent(len);
    }

    /// Takes in everything, in pieces that the generator cuts, or none; the disk answers in order.
    fn play(mut self, bytes: &[u8], mut rng: Option<Rng>) -> Self {
        let mut at = 0_usize;
        loop {
            let most = rng.as_mut().map_or(usize::MAX, |rng| 1 + rng.index(2000));
            let took = self.receive(&bytes[at..(at.saturating_add(most)).min(bytes.len())]);
            at += took;
            let mut moved = took > 0;
            while self.ask() {
                moved = true;
                self.complete(0, false);
                self.send(usize::MAX);
            }
            self.send(usize::MAX);
            if at == bytes.len() && !moved || self.session.over().is_some() {
                return self;
            }
            assert!(moved || self.session.landing().is_some(), "it neither takes nor does anything");
        }
    }
}

#[test]
fn the_same_bytes_in_other_pieces_lead_to_the_same_answers() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let bytes = conversation(&mut rng);
        let whole = Played::new().play(&bytes, None);
        let cut = Played::new().play(&bytes, Some(rng));
        assert_eq!(whole.session.over(), Some("it ended the connection"), "seed {seed}");
        assert_eq!(cut.session.over(), whole.session.over(), "seed {seed}");
        let asked = |played: &Played| -> Vec<_> {
            let mut asked: Vec<_> =
                played.asked.iter().map(|piece| (piece.at, piece.len, piece.op as u8, piece.fua)).collect();
            asked.sort_unstable();
            asked
        };
        assert_eq!(asked(&cut), asked(&whole), "seed {seed}");
        // Replies may come in another order; they are the same bytes all the same.
        let sorted = |mut bytes: Vec<u8>| {
            bytes.sort_unstable();
            bytes
        };
        assert!(sorted(cut.answers) == sorted(whole.answers), "seed {seed}: other answers");
    }
}

#[test]
fn the_kernel_is_served_without_a_handshake_and_with_simple_replies() {
    let mut played = Played { session: Session::of_kernel(), ..Played::new() };
    assert!(played.session.to_send().is_empty() && !played.session.is_in_handshake());
    let write = [request(1, 1, 7, 512, 512), vec![3; 512]].concat();
    let bytes = [request(0, 0, 6, 0, 1024), write, request(0, 3, 8, 0, 0), request(0, 2, 0, 0, 0)].concat();
    played = played.play(&bytes, Some(Rng::new(1)));
    let reply = |cookie: u64| [&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &cookie.to_be_bytes()].concat();
    let read: Vec<u8> = (0..2).flat_map(|at| [at; 512]).collect();
    assert!(played.answers == [reply(6), read, reply(7), reply(8)].concat());
    assert_eq!(
        played.asked.iter().map(|piece| (piece.op, piece.fua)).collect::<Vec<_>>(),
        [(Op::Read, false), (Op::Write, true), (Op::Flush, false)]
    );
    assert_eq!(played.session.over(), Some("it ended the connection"));
}

#[test]
fn random_and_damaged_bytes_lead_to_no_panic() {
    for seed in 0..1000 {
        let mut rng = Rng::new(seed);
        let mut bytes = conversation(&mut rng);
        for _ in 0..rng.below(6) {
            let at = rng.index(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        let keep = rng.index(bytes.len());
        if rng.one_in(2) {
            bytes.truncate(keep);
        }
        let more = rng.index(500);
        bytes.extend(std::iter::repeat_with(|| rng.word() as u8).take(more));
        let mut played = Played::new().play(&bytes, Some(rng));
        played.session.input_ended();
        while played.ask() {
            played.complete(0, seed % 2 == 0);
        }
        played.send(usize::MAX);
        assert!(played.session.over().is_some(), "seed {seed}: all input and all work is done");
    }
}

#[test]
fn what_a_client_can_have_kept_is_bounded_whatever_is_slow() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let structured = rng.one_in(2);
        let mut bytes = 3_u32.to_be_bytes().to_vec();
        if structured {
            bytes.extend(option_bytes(option::STRUCTURED_REPLY, &[]));
        }
        bytes.extend(option_bytes(option::GO, &[0; 6]));
        let mut requests = Vec::new();
        for cookie in 0..400 {
            let (at, len) = (rng.below(1 << 12) * 512, ((1 + rng.below(4096)) * 512) as u32);
            let command = rng.below(2) as u16;
            requests.extend(request(0, command, cookie, at, len));
            requests.extend(std::iter::repeat_n(1, if command == 1 { len as usize } else { 0 }));
        }
        bytes.extend(requests);
        let mut played = Played::new();
        // How often the disk works, and how often the client reads: sometimes never.
        let (works, reads) = (rng.below(3) as u32, rng.below(3) as u32);
        let mut at = 0;
        for _ in 0..3000 {
            let most = 1 + rng.index(100_000);
            at += played.receive(&bytes[at..(at + most).min(bytes.len())]);
            // A disk that takes nothing, one that takes and does not answer, and one that does both.
            if works > 0 {
                played.ask();
            }
            if works > 1 && !played.under_way.is_empty() {
                played.complete(rng.index(played.under_way.len()), rng.one_in(20));
            }
            if reads > 0 {
                played.send(if reads > 1 { usize::MAX } else { rng.index(10_000) });
            }
            let kept = played.session.kept();
            assert!(kept.inbox <= INBOX_BYTES && kept.held <= HELD_BYTES, "seed {seed}: {kept:?}");
            // Refusals and ends of replies come on top.
            assert!(kept.replies <= REPLY_BYTES + REQUESTS * 128, "seed {seed}: {kept:?}");
            assert!(kept.requests <= REQUESTS && kept.waiting <= REQUESTS + HELD_BYTES / 512, "seed {seed}: {kept:?}");
        }
        if works < 2 || reads == 0 {
            assert!(at < bytes.len(), "seed {seed}: it took everything of a client that reads nothing");
        }
    }
}
