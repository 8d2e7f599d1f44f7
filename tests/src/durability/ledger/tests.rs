use super::*;

const BLOCKS: u64 = 64;

/// A ledger, and a disk that does what is done to it by hand.
struct Case {
    ledger: Ledger,
    medium: Vec<u8>,
}

impl Case {
    fn new() -> Self {
        Case { ledger: Ledger::new(BLOCKS, 1), medium: vec![0; BLOCKS as usize * BLOCK_BYTES] }
    }

    /// Asks for a change that is acknowledged and reaches the medium.
    fn done(&mut self, op: Op, first: u64, blocks: u64, fua: bool) -> u64 {
        let number = self.ledger.ask(op, first, blocks, fua);
        self.ledger.answer(number, true);
        self.put(number, first, blocks, op == Op::Write);
        number
    }

    fn put(&mut self, number: u64, first: u64, blocks: u64, write: bool) {
        let range = first as usize * BLOCK_BYTES..(first + blocks) as usize * BLOCK_BYTES;
        match write {
            true => self.medium[range].copy_from_slice(&self.ledger.data(number)),
            false => self.medium[range].fill(0),
        }
    }

    fn flush(&mut self) {
        let flush = self.ledger.ask(Op::Flush, 0, 0, false);
        self.ledger.answer(flush, true);
    }

    fn keep(&self) -> Vec<u8> {
        self.medium.clone()
    }

    /// Blocks lost, wrong, writes torn.
    fn after(&self, after: After) -> (u64, u64, u64) {
        let Verdict { lost, wrong, torn, .. } = self.ledger.judge(&self.ledger.must(after), &self.medium, 8);
        (lost, wrong, torn)
    }
}

#[test]
fn what_was_acknowledged_is_there_when_drivers_have_ended() {
    let mut case = Case::new();
    case.done(Op::Write, 3, 2, false);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    let before = case.keep();
    case.done(Op::Write, 4, 2, false);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    case.medium = before;
    assert_eq!(case.after(After::Drivers), (2, 0, 0), "both of its blocks hold what was there before it");
}

#[test]
fn what_was_not_acknowledged_may_be_there_or_not_or_in_part() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 4, false);
    let number = case.ledger.ask(Op::Write, 0, 4, false);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    case.put(number, 0, 4, true);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    case.ledger.answer(number, false);
    assert_eq!((case.after(After::Drivers), case.ledger.failed()), ((0, 0, 0), 1));
}

#[test]
fn a_power_cut_may_take_what_no_flush_covers_and_nothing_else() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 1, false);
    case.flush();
    let flushed = case.keep();
    case.done(Op::Write, 0, 1, false);
    case.medium = flushed;
    assert_eq!(case.after(After::PowerCut), (0, 0, 0));
    let verdict = case.ledger.judge(&case.ledger.must(After::PowerCut), &case.medium, 8);
    assert_eq!(verdict.not_durable, 1);
    case.medium.fill(0);
    assert_eq!(case.after(After::PowerCut), (1, 0, 0));
}

#[test]
fn a_flush_covers_what_was_acknowledged_when_it_was_asked_for() {
    let mut case = Case::new();
    let late = case.ledger.ask(Op::Write, 0, 1, false);
    let flush = case.ledger.ask(Op::Flush, 0, 0, false);
    case.ledger.answer(late, true);
    case.ledger.answer(flush, true);
    assert_eq!(case.after(After::PowerCut), (0, 0, 0));
    case.flush();
    assert_eq!(case.after(After::PowerCut), (1, 0, 0), "the second one does");
}

#[test]
fn a_write_with_fua_needs_no_flush_and_a_flush_that_failed_covers_nothing() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 1, true);
    case.done(Op::Write, 1, 1, false);
    let flush = case.ledger.ask(Op::Flush, 0, 0, false);
    case.ledger.answer(flush, false);
    case.medium.fill(0);
    assert_eq!(case.after(After::PowerCut), (1, 0, 0));
}

#[test]
fn a_block_of_another_place_and_a_block_in_two_parts_are_wrong() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 2, false);
    let (first, second) = case.medium.split_at_mut(BLOCK_BYTES);
    second[..BLOCK_BYTES].copy_from_slice(first);
    assert_eq!(case.after(After::Drivers), (0, 1, 0));
    let mut case = Case::new();
    case.done(Op::Write, 0, 1, false);
    case.medium[300] ^= 1;
    assert_eq!(case.after(After::Drivers), (0, 1, 0));
    // A block that no change was asked for.
    let mut other = Ledger::new(BLOCKS, 1);
    let number = other.ask(Op::Write, 5, 1, false);
    let mut case = Case::new();
    case.medium[5 * BLOCK_BYTES..6 * BLOCK_BYTES].copy_from_slice(&other.data(number));
    assert_eq!(case.after(After::PowerCut), (0, 1, 0));
}

#[test]
fn a_short_write_is_torn_if_one_of_its_blocks_is_there_and_one_is_older() {
    for (blocks, torn) in [(8, 1), (9, 0)] {
        let mut case = Case::new();
        case.done(Op::Write, 0, blocks, false);
        case.medium[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0);
        assert_eq!(case.after(After::PowerCut), (0, 0, torn), "{blocks} blocks");
    }
}

#[test]
fn zeros_are_what_was_there_at_first_or_what_zeroed_last() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 2, true);
    let write = case.keep();
    case.done(Op::WriteZeroes, 0, 2, false);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    assert_eq!(case.after(After::PowerCut), (0, 0, 0));
    case.medium = write;
    assert_eq!((case.after(After::PowerCut), case.after(After::Drivers)), ((0, 0, 0), (2, 0, 0)));
    case.done(Op::Write, 0, 1, true);
    case.medium.fill(0);
    assert_eq!(case.after(After::PowerCut), (1, 0, 0), "zeros of an older change");
}

#[test]
fn what_was_discarded_holds_anything_until_it_is_written() {
    let mut case = Case::new();
    case.done(Op::Discard, 0, 2, false);
    case.medium[..2 * BLOCK_BYTES].fill(0xdd);
    assert_eq!(case.after(After::Drivers), (0, 0, 0));
    case.done(Op::Write, 0, 1, true);
    case.medium[..BLOCK_BYTES].fill(0xdd);
    assert_eq!(case.after(After::PowerCut), (0, 1, 0));
}

#[test]
fn a_read_finds_what_was_acknowledged_before_it_or_something_later() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 1, false);
    let (old, least) = (case.keep(), case.ledger.ask_read(0, 1));
    case.done(Op::Write, 0, 1, false);
    for medium in [&old, &case.medium] {
        assert!(case.ledger.judge_read(0, &least, &medium[..BLOCK_BYTES]).is_good());
    }
    let least = case.ledger.ask_read(0, 1);
    assert_eq!(case.ledger.judge_read(0, &least, &old[..BLOCK_BYTES]).lost, 1);
    assert_eq!(case.ledger.judge_read(0, &least, &old[..256]).wrong, 1);
}

#[test]
fn a_block_that_is_written_while_it_is_read_may_be_mixed_of_what_it_may_hold_and_of_nothing_else() {
    let mut case = Case::new();
    let older = case.done(Op::Write, 0, 1, false);
    case.done(Op::Write, 0, 1, false);
    let least = case.ledger.ask_read(0, 1);
    let under_way = case.ledger.ask(Op::Write, 0, 1, false);
    let mix = |case: &Case, number: u64| {
        let other = case.ledger.data(number);
        [&other[..128], &case.medium[128..BLOCK_BYTES]].concat()
    };
    let judged = |data: &[u8]| {
        let verdict = case.ledger.judge_read(0, &least, data);
        (verdict.mixed, verdict.wrong)
    };
    assert_eq!(judged(&mix(&case, under_way)), (1, 0));
    assert_eq!(judged(&mix(&case, older)), (0, 1), "a part of what was overwritten");
    let mut foreign = mix(&case, under_way);
    foreign[200] ^= 1;
    assert_eq!(judged(&foreign), (0, 1));
    // What rests does not change while it is looked at.
    let mut medium = case.keep();
    medium[..128].copy_from_slice(&case.ledger.data(under_way)[..128]);
    assert_eq!(case.ledger.judge(&case.ledger.must(After::Drivers), &medium, 1).wrong, 1);
}

#[test]
fn what_has_to_be_there_is_what_had_to_be_there_at_the_moment() {
    let mut case = Case::new();
    case.done(Op::Write, 0, 1, true);
    let (must, medium) = (case.ledger.must(After::PowerCut), case.keep());
    case.done(Op::WriteZeroes, 0, 1, true);
    assert!(case.ledger.judge(&must, &medium, 1).is_good());
    assert_eq!(case.ledger.judge(&must, &case.medium, 1).lost, 1, "it was zeroed later");
}
