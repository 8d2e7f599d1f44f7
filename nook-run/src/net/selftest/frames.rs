//! The interface's other side in a self-test: it makes frames in place, and checks each one that comes round.

use std::io;

use nook_abi::Hex;

use nook_net_api::{Incoming, NetBackend, Outgoing, Room};
use nook_seed::{Rng, word_at};
use sha2::{Digest, Sha256};

/// The shortest and the longest frame, without the frame check sequence.
const SHORTEST: usize = 60;
const LONGEST: usize = 1514;
/// Two addresses and the type, then the test's tag and the frame's number.
const TYPE_AT: usize = 12;
const TAG_AT: usize = 14;
const NUMBER_AT: usize = 22;
const PATTERN_AT: usize = 26;
/// The type that IEEE 802 gives to experiments.
const TYPE: [u8; 2] = [0x88, 0xb5];
/// The number of a frame that only asks whether frames come round.
const KNOCK: u32 = u32::MAX;
/// No more is under way than the smallest receive FIFO of the known chips holds (20 KiB, the 82574's), so that none has
/// to be lost, however slow the bus.
const UNDER_WAY_BYTES: usize = 16 << 10;

/// What was found out about the frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Handed to the driver.
    pub sent: u32,
    /// Came round unchanged and in order.
    pub received: u32,
    /// Did not come, though a later one did.
    pub lost: u32,
    /// Came again, or after a later one.
    pub repeated: u32,
    /// Came changed.
    pub damaged: u32,
    /// Others that came: knocks, and what is not the test's.
    pub others: u32,
    /// The first thing that was wrong.
    pub trouble: Option<String>,
}

/// Makes frames to the interface's own address and checks what comes back.
pub struct Frames {
    seed: u64,
    mac: [u8; 6],
    tally: Tally,
    /// Frames with smaller numbers may be sent.
    limit: u32,
    /// The number of the next that is sent, and of the next that should come.
    next: u32,
    expected: u32,
    under_way_bytes: usize,
    knock: bool,
    knocks_back: u32,
    sent: Sha256,
    received: Sha256,
    /// Room for the frame that comes, and for what it should be.
    came: Box<[u8; LONGEST]>,
    should_be: Box<[u8; LONGEST]>,
}

impl Frames {
    /// Creates the stream; nothing is sent yet. `seed` determines sizes and contents.
    pub fn new(seed: u64) -> Self {
        Frames {
            seed,
            mac: [0; 6],
            tally: Tally::default(),
            limit: 0,
            next: 0,
            expected: 0,
            under_way_bytes: 0,
            knock: false,
            knocks_back: 0,
            sent: Sha256::new(),
            received: Sha256::new(),
            came: Box::new([0; LONGEST]),
            should_be: Box::new([0; LONGEST]),
        }
    }

    /// Returns what was found out so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lets frames up to this number be sent.
    pub fn send_until(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Returns whether all of them came round, or will not any more.
    pub fn all_back(&self) -> bool {
        self.expected >= self.limit
    }

    /// Returns the number of the frame that should come next.
    pub fn expected(&self) -> u32 {
        self.expected
    }

    /// Sends one frame that is not counted.
    pub fn knock(&mut self) {
        self.knock = true;
    }

    /// Returns how many of those came back.
    pub fn knocks_back(&self) -> u32 {
        self.knocks_back
    }

    /// Returns the SHA-256 of all frames that were sent, and of all that came back as they should.
    pub fn hashes(&self) -> [String; 2] {
        [&self.sent, &self.received].map(|hash| Hex::of(&hash.clone().finalize()).to_string())
    }

    fn trouble(&mut self, what: impl FnOnce() -> String) {
        self.tally.trouble.get_or_insert_with(what);
    }

    /// Judges the first `len` bytes of `came`.
    fn judge(&mut self, len: usize) {
        let frame = &self.came[..len];
        let own = len >= SHORTEST
            && frame[..6] == self.mac
            && frame[TYPE_AT..TAG_AT] == TYPE
            && frame[TAG_AT..NUMBER_AT] == self.seed.to_be_bytes();
        if !own {
            self.tally.others += 1;
            return;
        }
        let number = frame[NUMBER_AT..PATTERN_AT].iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        if number == KNOCK {
            self.tally.others += 1;
            self.knocks_back += 1;
            return;
        }
        let expected = self.expected;
        if number >= self.next {
            self.tally.damaged += 1;
            self.trouble(|| format!("a frame came with the number {number}, which was not sent"));
            return;
        }
        if number < expected {
            self.tally.repeated += 1;
            self.trouble(|| format!("frame {number} came when {expected} was due"));
            return;
        }
        if number > expected {
            self.tally.lost += number - expected;
            self.trouble(|| format!("frame {number} came when {expected} was due"));
        }
        for passed in expected..=number {
            self.under_way_bytes -= length(self.seed, passed);
        }
        self.expected = number + 1;
        let should_be_len = make(self.seed, self.mac, number, &mut self.should_be);
        let (frame, should_be) = (&self.came[..len], &self.should_be[..should_be_len]);
        if frame == should_be {
            self.tally.received += 1;
            self.received.update(frame);
            return;
        }
        let at = frame.iter().zip(should_be).position(|(a, b)| a != b).unwrap_or(len.min(should_be_len));
        self.tally.damaged += 1;
        self.trouble(|| {
            format!("frame {number} came with {len} of {should_be_len} bytes, different from byte {at} on")
        });
    }
}

/// Returns how long a frame is: of every length in turn, and the first two of the extreme ones.
fn length(seed: u64, number: u32) -> usize {
    match number {
        0 | KNOCK => SHORTEST,
        1 => LONGEST,
        _ => SHORTEST + (word_at(seed ^ u64::from(number) << 32, 0) % (LONGEST - SHORTEST + 1) as u64) as usize,
    }
}

/// Makes a frame and says how long it is.
fn make(seed: u64, mac: [u8; 6], number: u32, frame: &mut [u8; LONGEST]) -> usize {
    let len = length(seed, number);
    frame[..6].copy_from_slice(&mac);
    frame[6..TYPE_AT].copy_from_slice(&mac);
    frame[TYPE_AT..TAG_AT].copy_from_slice(&TYPE);
    frame[TAG_AT..NUMBER_AT].copy_from_slice(&seed.to_be_bytes());
    frame[NUMBER_AT..PATTERN_AT].copy_from_slice(&number.to_be_bytes());
    let mut rng = Rng::new(seed ^ u64::from(number));
    for part in frame[PATTERN_AT..len].chunks_mut(8) {
        part.copy_from_slice(&rng.word().to_le_bytes()[..part.len()]);
    }
    len
}

impl NetBackend for Frames {
    fn deliver(&mut self, frame: Incoming<'_>) -> io::Result<bool> {
        let len = frame.len_bytes();
        if len > LONGEST {
            self.tally.others += 1;
        } else {
            frame.copy_to(&mut self.came[..len]);
            self.judge(len);
        }
        Ok(true)
    }

    fn fetch(&mut self, room: &Room<'_>) -> io::Result<Option<Outgoing>> {
        let number = if std::mem::take(&mut self.knock) {
            KNOCK
        } else {
            let len = length(self.seed, self.next);
            if self.next >= self.limit || self.under_way_bytes + len > UNDER_WAY_BYTES {
                return Ok(None);
            }
            self.next += 1;
            self.under_way_bytes += len;
            self.next - 1
        };
        let len = make(self.seed, self.mac, number, &mut self.should_be);
        let frame = &self.should_be[..len];
        room.copy_from(0, frame);
        if number != KNOCK {
            self.tally.sent += 1;
            self.sent.update(frame);
        }
        Ok(Some(Outgoing { len_bytes: len, side: None }))
    }

    fn link(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn set_mac(&mut self, mac: [u8; 6]) -> io::Result<()> {
        self.mac = mac;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nook_bus::VolatileSlice;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// Returns what is sent, in order.
    fn sent(frames: &mut Frames) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        let mut all = Vec::new();
        while let Some(Outgoing { len_bytes: len, .. }) =
            frames.fetch(&Room::one(VolatileSlice::from(&mut buffer[..]))).unwrap()
        {
            all.push(buffer[..len].to_vec());
        }
        all
    }

    fn come(frames: &mut Frames, frame: &[u8]) {
        let mut frame = frame.to_vec();
        frames.deliver(VolatileSlice::from(&mut frame[..]).into()).unwrap();
    }

    /// Puts five frames under way.
    fn five() -> (Frames, Vec<Vec<u8>>) {
        let mut frames = Frames::new(7);
        frames.set_mac(MAC).unwrap();
        frames.send_until(5);
        let all = sent(&mut frames);
        assert_eq!(all.len(), 5);
        (frames, all)
    }

    #[test]
    fn frames_that_come_round_as_they_went_have_the_same_hash() {
        let (mut frames, all) = five();
        assert_eq!((all[0].len(), all[1].len()), (SHORTEST, LONGEST));
        all.iter().for_each(|frame| come(&mut frames, frame));
        assert_eq!(*frames.tally(), Tally { sent: 5, received: 5, ..Tally::default() });
        assert!(frames.all_back());
        let [sent, received] = frames.hashes();
        assert_eq!(sent, received);
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        for at in PATTERN_AT..LONGEST {
            let (mut frames, all) = five();
            come(&mut frames, &all[0]);
            let mut changed = all[1].clone();
            changed[at] ^= 0x10;
            come(&mut frames, &changed);
            assert_eq!((frames.tally().received, frames.tally().damaged), (1, 1));
            assert!(frames.tally().trouble.as_ref().unwrap().ends_with(&format!("byte {at} on")));
            let [sent, received] = frames.hashes();
            assert_ne!(sent, received);
        }
    }

    #[test]
    fn a_frame_that_lost_its_end_is_damaged() {
        let (mut frames, all) = five();
        come(&mut frames, &all[0]);
        come(&mut frames, &all[1][..LONGEST - 1]);
        assert_eq!(frames.tally().damaged, 1);
    }

    #[test]
    fn a_lost_frame_a_repeated_one_and_a_late_one_are_found() {
        let (mut frames, all) = five();
        [0, 2, 2, 1, 4].into_iter().for_each(|number: usize| come(&mut frames, &all[number]));
        let Tally { received, lost, repeated, damaged, .. } = *frames.tally();
        assert_eq!((received, lost, repeated, damaged), (3, 2, 2, 0));
        assert_eq!(frames.tally().trouble.as_deref(), Some("frame 2 came when 1 was due"));
        assert!(frames.all_back());
    }

    #[test]
    fn a_frame_that_was_never_sent_is_no_progress() {
        let (mut frames, all) = five();
        let mut invented = all[0].clone();
        invented[NUMBER_AT..PATTERN_AT].copy_from_slice(&5u32.to_be_bytes());
        come(&mut frames, &invented);
        assert_eq!((frames.tally().damaged, frames.expected()), (1, 0));
    }

    #[test]
    fn what_is_not_the_tests_is_set_aside() {
        let (mut frames, all) = five();
        let mut of_another_test = all[0].clone();
        of_another_test[TAG_AT] ^= 1;
        for other in [&of_another_test[..], &[0xff; 64], &[0; 20], &[0; 1600]] {
            come(&mut frames, other);
        }
        assert_eq!(*frames.tally(), Tally { sent: 5, others: 4, ..Tally::default() });
    }

    #[test]
    fn no_more_is_under_way_than_a_small_fifo_holds() {
        let mut frames = Frames::new(7);
        frames.send_until(1000);
        let mut under_way = std::collections::VecDeque::from(sent(&mut frames));
        let mut came = 0;
        while let Some(frame) = under_way.pop_front() {
            let bytes: usize = under_way.iter().map(Vec::len).sum::<usize>() + frame.len();
            assert!(bytes <= UNDER_WAY_BYTES && bytes > UNDER_WAY_BYTES / 2 || frames.next == 1000);
            come(&mut frames, &frame);
            came += 1;
            under_way.extend(sent(&mut frames));
        }
        assert_eq!((came, frames.tally().received), (1000, 1000));
    }

    #[test]
    fn a_knock_is_not_one_of_the_frames() {
        let mut frames = Frames::new(7);
        frames.knock();
        let all = sent(&mut frames);
        come(&mut frames, &all[0]);
        assert_eq!((all.len(), frames.knocks_back(), frames.tally().sent), (1, 1, 0));
    }
}
