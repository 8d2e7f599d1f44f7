//! Power cuts of the embedded disk under a driver: what was durable is there, what was not is there or not, and no
//! short write is torn (docs of `nvme-model`; NVM 2.1.4 for atomicity across a power fail).

use std::collections::{BTreeMap, HashMap, HashSet};

use nook_block_api::{Op, Outcome};
use nook_seed::Rng;
use nook_tests::{DiskNook, Drive, Isolation, Served, disk_nook};
use nvme_model::{ATOMIC_BLOCKS, Behaviour, Disk, ModelConfig};

const BLOCK: usize = 512;
/// Few, so that blocks are written again and again.
const BLOCKS: u64 = 512;

/// A write that was asked for.
#[derive(Clone, Copy)]
struct Write {
    first: u64,
    blocks: u64,
    fua: bool,
}

/// What was asked of a disk, and what is known of it.
#[derive(Default)]
struct Ledger {
    /// Each write, by its number, which is what its blocks hold; in the order in which they were asked for.
    writes: BTreeMap<u64, Write>,
    /// Those that were acknowledged.
    acknowledged: HashSet<u64>,
    /// Those of them that are durable.
    durable: HashSet<u64>,
    /// What a flush that is open makes durable: what was acknowledged when it was asked for.
    flushes: HashMap<u64, Vec<u64>>,
    /// The write that an open request is.
    open: HashMap<u64, u64>,
}

impl Ledger {
    fn ask(&mut self, nook: &mut DiskNook, rng: &mut Rng) {
        if rng.one_in(6) {
            let id = nook.backend_mut().ask(Op::Flush, 0, 0, false, Vec::new());
            self.flushes.insert(id, self.acknowledged.iter().copied().collect());
            return;
        }
        let most = if rng.one_in(3) { 64 } else { u64::from(ATOMIC_BLOCKS) };
        let blocks = 1 + rng.below(most);
        let write = Write { first: rng.below(BLOCKS - blocks), blocks, fua: rng.one_in(6) };
        let number = self.writes.len() as u64 + 1;
        let data = (0..blocks as usize * BLOCK / 8).flat_map(|_| number.to_le_bytes()).collect();
        let id = nook.backend_mut().ask(Op::Write, write.first, blocks as u32, write.fua, data);
        self.writes.insert(number, write);
        self.open.insert(id, number);
    }

    fn learn(&mut self, nook: &mut DiskNook) {
        for (id, outcome, _) in nook.backend_mut().answered.drain(..) {
            assert_eq!(outcome, Outcome::Done);
            if let Some(flushed) = self.flushes.remove(&id) {
                self.durable.extend(flushed);
            } else if let Some(number) = self.open.remove(&id) {
                self.acknowledged.insert(number);
                if self.writes[&number].fua {
                    self.durable.insert(number);
                }
            }
        }
    }

    /// Checks what is on the disk after a cut. Writes to a block were never in flight together, so they were made in
    /// the order of their numbers.
    fn check(&self, disk: &Disk, seed: u64) {
        let mut medium = vec![0; BLOCKS as usize * BLOCK];
        disk.read(0, &mut medium).unwrap();
        let mut held = Vec::new();
        for (at, bytes) in medium.chunks(BLOCK).enumerate() {
            let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let number = word(0);
            assert!((0..BLOCK).step_by(8).all(|at| word(at) == number), "seed {seed}: block {at} is torn");
            let covers = |write: &Write| (write.first..write.first + write.blocks).contains(&(at as u64));
            assert!(
                number == 0 || self.writes.get(&number).is_some_and(covers),
                "seed {seed}: block {at} is another's"
            );
            let least = self.writes.iter().filter(|(number, write)| covers(write) && self.durable.contains(number));
            let least = least.map(|(number, _)| *number).max().unwrap_or(0);
            assert!(number >= least, "seed {seed}: block {at} holds write {number}, and {least} was durable");
            held.push(number);
        }
        for (&number, write) in self.writes.iter().filter(|(_, write)| write.blocks <= u64::from(ATOMIC_BLOCKS)) {
            let blocks = write.first as usize..(write.first + write.blocks) as usize;
            let (has, older) = (held[blocks.clone()].contains(&number), held[blocks].iter().any(|held| *held < number));
            assert!(!(has && older), "seed {seed}: write {number} of {} blocks is torn", write.blocks);
        }
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_durable_and_tears_no_short_write() {
    let mut lost = 0;
    for seed in 0..200 {
        let disk = Disk::in_memory(BLOCKS, BLOCK as u32).unwrap().with_cache(128 << 10);
        let config = ModelConfig { seed, behaviour: Behaviour::adversarial() };
        let mut nook = disk_nook(Drive::Model(config, &disk), Isolation::Native);
        nook.start().unwrap();
        let (mut rng, mut ledger) = (Rng::new(seed), Ledger::default());
        for _ in 0..50 + rng.below(150) {
            if nook.backend().open() < 24 {
                ledger.ask(&mut nook, &mut rng);
            }
            nook.work();
            ledger.learn(&mut nook);
        }
        disk.cut_power(seed).unwrap();
        ledger.check(&disk, seed);
        let mut block = [0; BLOCK];
        for number in &ledger.acknowledged {
            let write = ledger.writes[number];
            let later = ledger
                .writes
                .range(number + 1..)
                .any(|(_, other)| other.first < write.first + write.blocks && write.first < other.first + other.blocks);
            disk.read(write.first, &mut block).unwrap();
            lost += u32::from(!later && block[..8] != number.to_le_bytes());
        }
    }
    assert!(lost > 20, "only {lost} writes that were not durable were lost: nothing was tried");
}
