//! A disk's driver on the calm model, requests whose data nobody looks into, and the timer around the driver's calls.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::{DmaWindow, VolatileSlice};
use nook_runtime::{Block, Nook, NookBuilder};
use nvme_model::{Behaviour, Disk, Model, ModelConfig};

use crate::levels::{Program, Shared};
use crate::rig::{BUDGETS, Measure, watching};
use crate::sample::Subject;

/// Bytes of a block of the disk.
const BLOCK_BYTES: u32 = 512;
/// Bytes of the disk.
const DISK_BYTES: u32 = 16 << 20;

/// One who asks for the same number of requests in each round, one behind the other on the disk.
struct Rounds {
    op: Op,
    blocks: u32,
    depth: u32,
    /// Requests of the round that are not asked yet, and that are not answered yet.
    left: u32,
    open: u32,
    next: u64,
}

impl BlockBackend for Rounds {
    fn attach(&mut self, _: &Geometry) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> io::Result<Option<Request>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let places = u64::from(DISK_BYTES / BLOCK_BYTES / self.blocks);
        self.next = (self.next + 1) % places;
        let first = self.next * u64::from(self.blocks);
        Ok(Some(Request { id: self.next, op: self.op, first, blocks: self.blocks, fua: false }))
    }

    #[inline]
    fn fill(&mut self, _: u64, _: VolatileSlice<'_>) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    fn complete(&mut self, _: u64, outcome: Outcome, _: Option<VolatileSlice<'_>>) -> io::Result<()> {
        assert_eq!(outcome, Outcome::Done, "the calm model fails at nothing");
        self.open -= 1;
        Ok(())
    }
}

/// What is asked for in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) op: Op,
    /// Bytes of each request.
    pub(crate) bytes: u32,
    /// Requests, all at once.
    pub(crate) depth: u32,
}

type DiskNook = Nook<Block<Rounds>>;

/// Asks for a round of requests, and lets the nook work until all are answered.
fn round(nook: &mut DiskNook) {
    let backend = nook.backend_mut();
    (backend.left, backend.open) = (backend.depth, backend.depth);
    while nook.backend().open > 0 {
        nook.turn(u64::MAX).expect("the driver does not fault");
    }
}

/// Returns a nook, and where what its driver's calls take, or what `roll_back` tells of them, is added up.
fn nook(launcher: &Shared, load: Load, measure: Measure) -> (DiskNook, Arc<AtomicU64>) {
    let (launcher, sum) = watching(launcher, measure);
    let module = Program::Nvme.module();
    let disk = Disk::in_memory(u64::from(DISK_BYTES / BLOCK_BYTES), BLOCK_BYTES).expect("the model has such blocks");
    let device = Model::new(ModelConfig { behaviour: Behaviour::calm(), ..ModelConfig::default() }, disk);
    let Load { op, bytes, depth } = load;
    let backend = Rounds { op, blocks: bytes / BLOCK_BYTES, depth, left: 0, open: 0, next: 0 };
    let nook = NookBuilder::of(&module, &[&nvme_regs::MAP])
        .in_window(DmaWindow::new(module.layout().window_bytes).expect("memory for the window"))
        .budgets(BUDGETS)
        .block(Box::new(device), Box::new(launcher), backend);
    let mut nook = nook.expect("driver and device belong together");
    nook.start().expect("the driver comes up");
    (0..100).for_each(|_| round(&mut nook));
    let before = *nook.block_counters();
    round(&mut nook);
    let after = nook.block_counters();
    let done = (after.reads - before.reads) + (after.writes - before.writes);
    assert_eq!(done, u64::from(depth), "a round is {load:?}");
    (nook, sum)
}

/// Returns a subject whose runs are rounds of this many nooks.
pub(crate) fn rounds<'a>(launcher: &Shared, instances: usize, load: Load) -> Subject<'a> {
    Subject::new((0..instances).map(|_| {
        let (mut nook, spent) = nook(launcher, load, Measure::Time);
        move |times| {
            let before = spent.load(Ordering::Relaxed);
            (0..times).for_each(|_| round(&mut nook));
            spent.load(Ordering::Relaxed) - before
        }
    }))
}

/// Returns what `roll_back` tells of a round's calls, for drivers whose `roll_back` undoes nothing and tells what the
/// last call did.
pub(crate) fn told(launcher: &Shared, load: Load) -> u64 {
    let (mut nook, told) = nook(launcher, load, Measure::Rollback);
    let before = told.load(Ordering::Relaxed);
    round(&mut nook);
    told.load(Ordering::Relaxed) - before
}
