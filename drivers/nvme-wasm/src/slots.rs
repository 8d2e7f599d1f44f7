//! Requests that the driver has: one slot each, whose number is the request's id and the command's identifier.

use nook_sdk::{BlockOp, DmaRegion, Kernel, Nook, Record, Request, RequestTable, RequestTicket, Status};
use nvme_regs::command::Command;
use nvme_regs::{PAGE_BYTES, nvm};

/// Requests at a time: the manifest asks for one less.
pub(crate) const SLOTS: usize = 128;
/// Pages of a transfer at most: 128 KiB.
pub(crate) const MAX_PAGES: u32 = 32;
/// Bytes of a slot's list: an entry for each page but the first (section 4.1.1). A list that is as long as this, at a
/// multiple of its length, crosses no page.
const LIST_BYTES: u32 = 8 * MAX_PAGES;

/// A request, as it can be made again.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    op: BlockOp,
    fua: bool,
    /// An Abort was sent for it.
    pub(crate) aborted: bool,
    /// How often it has failed with a status that lets it be sent again.
    pub(crate) tries: u8,
    blocks: u32,
    first: u64,
    iova: u64,
    /// When it was sent last.
    pub(crate) sent_ns: u64,
}

/// Words of a slot.
const WORDS: usize = 4;

impl Record<WORDS> for Slot {
    #[inline(always)]
    fn to_words(self) -> [u64; WORDS] {
        let Slot { op, fua, aborted, tries, blocks, first, iova, sent_ns } = self;
        let small = u32::from_le_bytes([op as u8, fua.into(), aborted.into(), tries]);
        [u64::from(small) | u64::from(blocks) << 32, first, iova, sent_ns]
    }

    #[inline(always)]
    fn from_words([small, first, iova, sent_ns]: [u64; WORDS]) -> Self {
        let [op, fua, aborted, tries, ..] = small.to_le_bytes();
        // Only what was an operation is ever kept.
        let op = BlockOp::from_u8(op).unwrap_or(BlockOp::Flush);
        Slot { op, fua: fua != 0, aborted: aborted != 0, tries, blocks: (small >> 32) as u32, first, iova, sent_ns }
    }
}

/// All of them, and the memory that goes with them.
pub(crate) struct Slots<K: Kernel> {
    pub(crate) slots: RequestTable<Slot, WORDS, SLOTS>,
    /// Where the data of each lay when its list was written.
    listed: [u64; SLOTS],
    /// A PRP list and a range of dataset management for each.
    lists: DmaRegion<K>,
    ranges: DmaRegion<K>,
    pub(crate) namespace: u32,
    block_bytes: u32,
    transfer_pages: u32,
}

impl<K: Kernel> Slots<K> {
    pub(crate) fn new(nook: Nook<K>, namespace: u32, block_bytes: u32) -> Result<Self, Status> {
        Ok(Slots {
            slots: RequestTable::new(),
            listed: [0; SLOTS],
            lists: nook.dma_alloc(LIST_BYTES * SLOTS as u32, PAGE_BYTES)?,
            ranges: nook.dma_alloc((nvm::RANGE_BYTES * SLOTS) as u32, PAGE_BYTES)?,
            namespace,
            block_bytes,
            transfer_pages: (nook.transfer_bytes() / PAGE_BYTES).min(MAX_PAGES),
        })
    }

    /// Keeps a request. Returns its slot's number; `None`, and the ticket, if there is no such slot or it is in use: a
    /// host that gives such a request is broken.
    #[inline(always)]
    pub(crate) fn keep(&mut self, request: Request<'_>, now_ns: u64) -> Result<u16, RequestTicket> {
        let Request { ticket, op, fua, first, blocks, iova, .. } = request;
        let slot = Slot { op, fua, aborted: false, tries: 0, blocks, first, iova, sent_ns: now_ns };
        self.slots.keep(ticket, slot).map(|id| id as u16)
    }

    /// Returns the command for the request in a slot; an error if its memory cannot be described, which is so of
    /// none that the host may give.
    #[inline(always)]
    pub(crate) fn command(&mut self, id: u16) -> Result<Command, Status> {
        let slot = self.slots.get(id.into()).ok_or(Status::Invalid)?;
        let namespace = self.namespace;
        let blocks = |command: Command| {
            let fua = if slot.fua { nvm::FUA } else { 0 };
            command.first_block(slot.first).dword(12, nvm::BLOCKS.put(slot.blocks.wrapping_sub(1)) | fua)
        };
        let opcode = match slot.op {
            BlockOp::Read => nvm::READ,
            BlockOp::Write => nvm::WRITE,
            BlockOp::Flush => return Ok(Command::new(nvm::FLUSH, namespace).id(id)),
            BlockOp::WriteZeroes => return Ok(blocks(Command::new(nvm::WRITE_ZEROES, namespace).id(id))),
            BlockOp::Discard => {
                let at = u32::from(id) * nvm::RANGE_BYTES as u32;
                for (word, value) in (0..).zip(nvm::range(slot.first, slot.blocks)) {
                    self.ranges.bytes().write_bytes(at + 4 * word, &value.to_le_bytes())?;
                }
                let range = self.ranges.iova() + u64::from(at);
                let command = Command::new(nvm::DATASET_MANAGEMENT, namespace).id(id).data(range, 0);
                return Ok(command.dword(10, nvm::RANGES.put(0)).dword(11, nvm::DISCARD));
            }
        };
        let pages = (slot.blocks * self.block_bytes).div_ceil(PAGE_BYTES);
        let second = match pages {
            0 | 1 => 0,
            2 => slot.iova + u64::from(PAGE_BYTES),
            _ => {
                let at = u32::from(id) * LIST_BYTES;
                let listed = self.listed.get_mut(usize::from(id)).ok_or(Status::Invalid)?;
                if *listed != slot.iova {
                    let mut list = [0; LIST_BYTES as usize];
                    for (page, entry) in (1..self.transfer_pages).zip(list.chunks_exact_mut(8)) {
                        let address = slot.iova + u64::from(page * PAGE_BYTES);
                        entry.copy_from_slice(&address.to_le_bytes());
                    }
                    self.lists.bytes().write_bytes(at, &list)?;
                    *listed = slot.iova;
                }
                self.lists.iova() + u64::from(at)
            }
        };
        Ok(blocks(Command::new(opcode, namespace).id(id).data(slot.iova, second)))
    }
}
