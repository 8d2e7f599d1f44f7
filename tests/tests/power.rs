//! Power cuts of the embedded disk under a driver: what was durable is there, what was not is there or not, and no
//! short write is torn (docs of `nvme-model`; NVM 2.1.4 for atomicity across a power fail).

use std::collections::HashMap;

use nook_block_api::{Op, Outcome};
use nook_recovery::{Policy, Supervisor};
use nook_runtime::CrashWhen;
use nook_seed::Rng;
use nook_tests::durability::{After, BLOCK_BYTES, Ledger};
use nook_tests::{DiskNook, Drive, Isolation, Served, disk_nook};
use nvme_model::{ATOMIC_BLOCKS, Behaviour, Disk, ModelConfig};

/// Few, so that blocks are written again and again.
const BLOCKS: u64 = 512;

/// Requests that were asked of a nook and are not answered, by their ids; and what is known of the rest.
struct Client {
    ledger: Ledger,
    open: HashMap<u64, u64>,
}

impl Client {
    fn ask(&mut self, nook: &mut DiskNook, rng: &mut Rng) {
        let op = match rng.below(24) {
            0..4 => Op::Flush,
            4 => Op::WriteZeroes,
            5 => Op::Discard,
            _ => Op::Write,
        };
        let most = if rng.one_in(3) { 64 } else { u64::from(ATOMIC_BLOCKS) };
        let blocks = if op == Op::Flush { 0 } else { 1 + rng.below(most) };
        let first = if op == Op::Flush { 0 } else { rng.below(BLOCKS - blocks) };
        let fua = matches!(op, Op::Write | Op::WriteZeroes) && rng.one_in(6);
        let number = self.ledger.ask(op, first, blocks, fua);
        let data = if op == Op::Write { self.ledger.data(number) } else { Vec::new() };
        self.open.insert(nook.backend_mut().ask(op, first, blocks as u32, fua, data), number);
    }

    fn learn(&mut self, nook: &mut DiskNook) {
        for (id, outcome, _) in nook.backend_mut().answered.drain(..) {
            assert_eq!(outcome, Outcome::Done);
            self.ledger.answer(self.open[&id], true);
        }
    }
}

/// Has a driver work for some turns, cuts power, and judges. Returns how many blocks lost what was not durable.
fn cut(served: &mut impl Served, disk: &Disk, seed: u64, turns: u64) -> u64 {
    let (mut rng, ledger) = (Rng::new(seed), Ledger::new(BLOCKS, seed));
    let mut client = Client { ledger, open: HashMap::new() };
    for _ in 0..turns + rng.below(150) {
        if served.nook().backend().open() < 24 {
            client.ask(served.nook(), &mut rng);
        }
        served.work();
        client.learn(served.nook());
    }
    disk.cut_power(seed).unwrap();
    let mut medium = vec![0; BLOCKS as usize * BLOCK_BYTES];
    disk.read(0, &mut medium).unwrap();
    let Client { ledger, .. } = client;
    let verdict = ledger.judge(&ledger.must(After::PowerCut), &medium, ATOMIC_BLOCKS.into());
    assert!(verdict.is_good(), "seed {seed}: {verdict:?}");
    verdict.not_durable
}

fn disk() -> Disk {
    Disk::in_memory(BLOCKS, BLOCK_BYTES as u32).unwrap().with_cache(128 << 10)
}

fn nook(seed: u64, disk: &Disk, isolation: Isolation) -> DiskNook {
    disk_nook(Drive::Model(ModelConfig { seed, behaviour: Behaviour::adversarial() }, disk), isolation)
}

#[test]
fn a_power_cut_takes_nothing_that_was_durable_and_tears_no_short_write() {
    let mut not_durable = 0;
    for seed in 0..200 {
        let disk = disk();
        let mut nook = nook(seed, &disk, Isolation::Native);
        nook.start().unwrap();
        not_durable += cut(&mut nook, &disk, seed, 50);
    }
    assert!(not_durable > 20, "only {not_durable} blocks that were not durable were lost: nothing was tried");
}

#[test]
fn a_power_cut_takes_nothing_that_was_durable_where_drivers_have_crashed_before_it() {
    let mut not_durable = 0;
    // A restart takes some milliseconds, and what is asked has to get through before the next one.
    for (isolation, every_ns) in [(Isolation::SfiTxn, 50_000), (Isolation::Sfi, 10_000_000)] {
        let mut crashes = 0;
        for seed in 0..4 {
            let disk = disk();
            let policy = Policy { restarts: u32::MAX, backoff_first_ns: 0, backoff_most_ns: 0, ..Policy::default() };
            let mut supervisor = Supervisor::new(nook(seed, &disk, isolation), policy);
            supervisor.start().unwrap();
            assert!(supervisor.nook_mut().crash(CrashWhen::Every(every_ns), seed));
            not_durable += cut(&mut supervisor, &disk, seed, 2000);
            crashes += supervisor.nook().block_counters().faults_at_work;
        }
        assert!(crashes > 8, "{isolation:?}: only {crashes} crashes");
    }
    assert!(not_durable > 0, "nothing that was not durable was lost: nothing was tried");
}
