//! One who asks for a few requests, waits for all of them, and keeps what was read.

use std::collections::{HashMap, VecDeque};
use std::io;

use nook_block_api::{BlockBackend, Geometry, Op, Outcome, Request};
use nook_bus::VolatileSlice;

/// What the disk is plugged into.
#[derive(Default)]
pub struct Blocks {
    /// What the driver said of the disk.
    pub geometry: Geometry,
    waiting: VecDeque<Request>,
    /// The data of writes that are not answered, and of reads that are.
    data: HashMap<u64, Vec<u8>>,
    next_id: u64,
    open: usize,
    /// The first request that was answered with an error.
    failed: Option<Request>,
    asked: HashMap<u64, Request>,
}

impl Blocks {
    /// Asks for something; `data` is that of a write. Returns by which number its data is [taken](Self::take).
    pub fn ask(&mut self, op: Op, first: u64, blocks: u32, fua: bool, data: Vec<u8>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.open += 1;
        let request = Request { id, op, first, blocks, fua };
        self.waiting.push_back(request);
        self.asked.insert(id, request);
        if op == Op::Write {
            self.data.insert(id, data);
        }
        id
    }

    /// Returns how many are not answered.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Takes what a read has read.
    pub fn take(&mut self, id: u64) -> Vec<u8> {
        self.data.remove(&id).unwrap_or_default()
    }

    /// Takes the first request that failed since.
    pub fn failed(&mut self) -> Option<Request> {
        self.failed.take()
    }
}

impl BlockBackend for Blocks {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        self.geometry = geometry.clone();
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<Request>> {
        Ok(self.waiting.pop_front())
    }

    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        if let Some(data) = self.data.get(&id) {
            buffer.copy_from(data);
        }
        Ok(())
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        self.open -= 1;
        self.data.remove(&id);
        let request = self.asked.remove(&id);
        if outcome == Outcome::IoError {
            self.failed = self.failed.or(request);
        }
        if let Some(slice) = data {
            let mut bytes = vec![0; slice.len()];
            slice.copy_to(&mut bytes);
            self.data.insert(id, bytes);
        }
        Ok(())
    }
}
