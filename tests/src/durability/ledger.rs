//! What was asked of a disk, what of it was acknowledged and made durable, and what may be read back.

use std::collections::{HashMap, HashSet};

use nook_block_api::Op;

use super::BLOCK_BYTES;
use super::content::{self, Found, Source};

/// What has happened before a disk is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Drivers ended, in whatever way, and others went on; or nothing.
    Drivers,
    /// Power was lost.
    PowerCut,
}

/// A request that was asked for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    op: Op,
    first: u64,
    blocks: u64,
    fua: bool,
}

/// What was found of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// What this write wrote.
    Write(u64),
    /// What it held before everything, or zeros of a change with at most this number.
    AtMost(u64),
    /// Something that is good whatever it is.
    Anything,
}

/// What has to be there if something happens at a moment.
#[derive(Clone, Debug)]
pub struct Must {
    /// Of each block, the newest change that has to be there, unless a later one is; 0 is none.
    least: Vec<u64>,
    /// The newest that was acknowledged.
    acknowledged: Vec<u64>,
    /// The newest that zeroed it, and the newest that discarded it, that were asked until then.
    zeroed: Vec<u64>,
    discarded: Vec<u64>,
}

/// What came of reading back. Counts add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Blocks that were looked at.
    pub blocks: u64,
    /// Blocks that hold something older than has to be there.
    pub lost: u64,
    /// Blocks that hold what nobody wrote there.
    pub wrong: u64,
    /// Writes that are there in part, and may not be.
    pub torn: u64,
    /// Blocks that were read while they were written, with parts of both contents: a device that reads and writes a
    /// block one after the other (NVM 2.1.4, AWUN) does not do that, and QEMU with a file does.
    pub mixed: u64,
    /// Blocks whose newest acknowledged change is not there, and need not be.
    pub not_durable: u64,
    /// The first that is wrong, in words.
    pub first: Option<String>,
}

impl Verdict {
    /// Returns whether everything that had to be there was.
    pub fn is_good(&self) -> bool {
        (self.lost, self.wrong, self.torn) == (0, 0, 0)
    }

    /// Adds another one.
    pub fn add(&mut self, other: Verdict) {
        self.blocks += other.blocks;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.torn += other.torn;
        self.mixed += other.mixed;
        self.not_durable += other.not_durable;
        self.first = self.first.take().or(other.first);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.first.is_none() {
            self.first = Some(what());
        }
    }
}

/// What was asked of the blocks of a disk, or of a part of it, and what is known of it.
///
/// Requests count from 1 in the order in which they were asked; the change with a number writes it into its blocks.
/// Changes of the same block are made in this order: so the block class has it of what it is asked, and so has the NBD
/// server of what comes on one connection.
pub struct Ledger {
    seed: u64,
    asked: Vec<Asked>,
    /// Of each block, the newest change that was acknowledged, and that is durable; 0 is what it held before.
    acknowledged: Vec<u64>,
    durable: Vec<u64>,
    zeroed: Vec<u64>,
    discarded: Vec<u64>,
    /// Changes that were acknowledged and that no flush covers yet.
    unflushed: Vec<u64>,
    /// What a flush that is open makes durable: what was acknowledged when it was asked for.
    flushes: HashMap<u64, Vec<u64>>,
    /// How many requests failed.
    failed: u64,
}

impl Ledger {
    /// Begins with blocks that hold zeros. `seed` goes into all content: what another ledger wrote is not taken for
    /// this one's.
    pub fn new(blocks: u64, seed: u64) -> Self {
        let none = vec![0; blocks as usize];
        Ledger {
            seed,
            asked: Vec::new(),
            acknowledged: none.clone(),
            durable: none.clone(),
            zeroed: none.clone(),
            discarded: none,
            unflushed: Vec::new(),
            flushes: HashMap::new(),
            failed: 0,
        }
    }

    /// Returns how many blocks there are.
    pub fn blocks(&self) -> u64 {
        self.durable.len() as u64
    }

    /// Returns how many requests failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Notes that a change or a flush is asked for now; a flush has no blocks. Returns its number.
    pub fn ask(&mut self, op: Op, first: u64, blocks: u64, fua: bool) -> u64 {
        self.asked.push(Asked { op, first, blocks, fua });
        let number = self.asked.len() as u64;
        let newest = match op {
            Op::Flush => {
                self.flushes.insert(number, self.unflushed.clone());
                return number;
            }
            Op::WriteZeroes => &mut self.zeroed,
            Op::Discard => &mut self.discarded,
            Op::Write | Op::Read => return number,
        };
        newest[first as usize..(first + blocks) as usize].fill(number);
        number
    }

    /// Returns what a write writes.
    pub fn data(&self, number: u64) -> Vec<u8> {
        let Asked { first, blocks, .. } = self.asked[number as usize - 1];
        let mut data = vec![0; blocks as usize * BLOCK_BYTES];
        for (block, bytes) in (first..).zip(data.chunks_exact_mut(BLOCK_BYTES)) {
            content::fill(bytes, self.seed, block, number);
        }
        data
    }

    /// Notes that a change or a flush was answered. What failed may have been done or not.
    pub fn answer(&mut self, number: u64, done: bool) {
        let Asked { op, fua, .. } = self.asked[number as usize - 1];
        let flushed = self.flushes.remove(&number);
        if !done {
            self.failed += 1;
        } else if op == Op::Flush {
            let flushed = flushed.unwrap_or_default();
            flushed.iter().for_each(|&number| self.reaches(number, true));
            let covered: HashSet<u64> = flushed.into_iter().collect();
            self.unflushed.retain(|number| !covered.contains(number));
        } else {
            self.reaches(number, false);
            if fua { self.reaches(number, true) } else { self.unflushed.push(number) }
        }
    }

    /// Notes that a change is acknowledged, or durable.
    fn reaches(&mut self, number: u64, durable: bool) {
        let Asked { first, blocks, .. } = self.asked[number as usize - 1];
        let newest = if durable { &mut self.durable } else { &mut self.acknowledged };
        let blocks = &mut newest[first as usize..(first + blocks) as usize];
        blocks.iter_mut().for_each(|newest| *newest = number.max(*newest));
    }

    /// Returns what has to be there if this happens now.
    pub fn must(&self, after: After) -> Must {
        let least = match after {
            After::Drivers => &self.acknowledged,
            After::PowerCut => &self.durable,
        };
        Must {
            least: least.clone(),
            acknowledged: self.acknowledged.clone(),
            zeroed: self.zeroed.clone(),
            discarded: self.discarded.clone(),
        }
    }

    /// Returns of these blocks the newest changes that a read has to find that is asked now.
    pub fn ask_read(&self, first: u64, blocks: u64) -> Vec<u64> {
        self.acknowledged[first as usize..(first + blocks) as usize].to_vec()
    }

    /// Judges what a read has read, of which [`ask_read`](Self::ask_read) said `least`.
    pub fn judge_read(&self, first: u64, least: &[u64], data: &[u8]) -> Verdict {
        let mut verdict = Verdict::default();
        if data.len() != least.len() * BLOCK_BYTES {
            verdict.wrong += 1;
            verdict.note(|| format!("a read of {} blocks at {first} returned {} bytes", least.len(), data.len()));
            return verdict;
        }
        for ((block, &least), bytes) in (first..).zip(least).zip(data.chunks_exact(BLOCK_BYTES)) {
            let newest = (least, self.zeroed[block as usize], self.discarded[block as usize]);
            self.judge_block(block, newest, bytes, true, &mut verdict);
        }
        verdict
    }

    /// Judges all blocks. A write of at most `atomic_blocks` is not there in part after a power cut; one that is not
    /// acknowledged may be there in part otherwise.
    pub fn judge(&self, must: &Must, medium: &[u8], atomic_blocks: u64) -> Verdict {
        let mut verdict = Verdict::default();
        assert_eq!(medium.len(), must.least.len() * BLOCK_BYTES, "as many blocks as there are");
        let mut held = Vec::with_capacity(must.least.len());
        for (at, bytes) in medium.chunks_exact(BLOCK_BYTES).enumerate() {
            let newest = (must.least[at], must.zeroed[at], must.discarded[at]);
            let found = self.judge_block(at as u64, newest, bytes, false, &mut verdict);
            let older = match found {
                Held::Write(number) | Held::AtMost(number) => number < must.acknowledged[at],
                Held::Anything => false,
            };
            verdict.not_durable += u64::from(older);
            held.push(found);
        }
        let writes = (1u64..).zip(&self.asked).filter(|(_, asked)| asked.op == Op::Write);
        for (number, asked) in writes.filter(|(_, asked)| (2..=atomic_blocks).contains(&asked.blocks)) {
            let blocks = &held[asked.first as usize..(asked.first + asked.blocks) as usize];
            let is_older = |held: &Held| match *held {
                Held::Write(other) | Held::AtMost(other) => other < number,
                Held::Anything => false,
            };
            if blocks.contains(&Held::Write(number)) && blocks.iter().any(is_older) {
                verdict.torn += 1;
                verdict.note(|| format!("write {number} of {} blocks at {} is torn", asked.blocks, asked.first));
            }
        }
        verdict
    }

    /// Judges a block, of which `newest` has the change that has to be there, and the last that zeroed and that
    /// discarded it. With `live` changes may be under way while it is read.
    fn judge_block(&self, at: u64, newest: (u64, u64, u64), bytes: &[u8], live: bool, verdict: &mut Verdict) -> Held {
        let (least, zeroed, discarded) = newest;
        verdict.blocks += 1;
        if discarded > 0 && discarded >= least {
            return Held::Anything;
        }
        let found = content::found(bytes, self.seed);
        let number = match found {
            Found::Written { number, block } if block == at && self.covers(number, at) => number,
            Found::Zeros => zeroed,
            Found::Written { number, block } => {
                verdict.wrong += 1;
                verdict.note(|| {
                    format!("block {at} holds block {block} of write {number}, and should hold {least} or later")
                });
                return Held::Anything;
            }
            Found::Other => {
                let numbers: Vec<u64> = (1..=self.asked.len() as u64).filter(|&it| self.covers(it, at)).collect();
                let sources = content::sources(bytes, self.seed, at, &numbers);
                if live && is_mixed(&sources, least, zeroed) {
                    verdict.mixed += 1;
                } else {
                    verdict.wrong += 1;
                    let told = content::told(&sources);
                    verdict.note(|| format!("block {at} should hold {least} or later, and holds {told}"));
                }
                return Held::Anything;
            }
        };
        if number < least {
            verdict.lost += 1;
            let what = if found == Found::Zeros { "zeros" } else { "an older write" };
            verdict.note(|| format!("block {at} holds {what}, of change {number}, and should hold {least} or later"));
        }
        if found == Found::Zeros { Held::AtMost(number) } else { Held::Write(number) }
    }

    fn covers(&self, number: u64, block: u64) -> bool {
        let asked = number.checked_sub(1).and_then(|at| self.asked.get(at as usize));
        asked.is_some_and(|it| it.op == Op::Write && (it.first..it.first + it.blocks).contains(&block))
    }
}

/// Returns whether all of a block comes from changes that may be there, of which one was not acknowledged when the
/// block began to be read.
fn is_mixed(sources: &[Source], least: u64, zeroed: u64) -> bool {
    let numbers = sources.iter().map(|source| match source {
        Source::Write(number) => Some(*number),
        Source::Zeros => Some(zeroed),
        Source::Other(_) => None,
    });
    let numbers: Option<Vec<u64>> = numbers.collect();
    numbers.is_some_and(|numbers| {
        numbers.iter().all(|&number| number >= least) && numbers.iter().any(|&number| number > least)
    })
}

#[cfg(test)]
mod tests;
