//! The two rings between host and driver, and what a driver sees of an entry.

use nook_abi::block::{
    BlockCompletion, BlockOp, BlockPage, BlockRequest, BlockStatus, CompletionWords, RequestWords, request_flags,
};
use nook_abi::{Addr, QUEUE_CAPACITY, RingHeader};

use crate::DmaBytes;
use crate::raw::{Page, QueueMemory, Span};

type RequestRing = QueueMemory<{ size_of::<RequestWords>() / size_of::<u64>() }>;
type CompletionRing = QueueMemory<{ size_of::<CompletionWords>() / size_of::<u64>() }>;

impl Page {
    /// Returns what the block class has in the page.
    pub(super) fn block(self) -> BlockPage {
        BlockPage::from_words(&self.get().class)
    }
}

/// The driver's ends of the two rings.
pub(super) struct BlockQueues {
    requests: RequestRing,
    completions: CompletionRing,
    /// The window, and where the device sees it.
    window: Span,
    window_iova: u64,
}

impl BlockQueues {
    pub(super) fn new(page: Page) -> Self {
        let BlockPage { requests, completions, .. } = page.block();
        let window_len_bytes = page.get().window_len_bytes.try_into().unwrap_or(u32::MAX);
        // It is as long as the page says, or reaches to where a request can name its data.
        let (window, window_iova) = page.window(0, window_len_bytes).unwrap_or((Span::EMPTY, 0));
        BlockQueues {
            // SAFETY: the code that made the `Page` vouched that its host keeps it filled in as documented, and that of
            // a disk's driver has the address of its requests there.
            requests: unsafe { RequestRing::new(requests as Addr) },
            // SAFETY: the same page has the address of its completions.
            completions: unsafe { CompletionRing::new(completions as Addr) },
            window,
            window_iova,
        }
    }

    /// Begins a batch of up to `budget` entries each way.
    #[inline(always)]
    pub(super) fn begin(&mut self, budget: u32) -> (Requested<'_>, Completing<'_>) {
        let BlockQueues { requests, completions, window, window_iova } = self;
        (Requested::new(requests, *window, *window_iova, budget), Completing::new(completions, budget))
    }

    /// Begins a batch of completions only.
    pub(super) fn completing(&mut self, budget: u32) -> Completing<'_> {
        Completing::new(&mut self.completions, budget)
    }
}

/// Which request it is: completes it, once.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestTicket {
    /// Id and generation, as they were given.
    first: u64,
}

impl RequestTicket {
    /// Returns its id: below [`Nook::most_requests`](crate::Nook::most_requests), and that of no other request that the
    /// driver has. It may be the number that the device knows the request by.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        self.first as u32
    }

    /// Returns it as a word below 2^48.
    #[inline(always)]
    pub(super) fn into_word(self) -> u64 {
        self.first
    }

    #[inline(always)]
    pub(super) fn from_word(first: u64) -> Self {
        RequestTicket { first }
    }
}

/// One request: what is to be done, and the ticket that completes it.
#[derive(Debug)]
pub struct Request<'a> {
    /// What a driver keeps of it.
    pub ticket: RequestTicket,
    /// What is asked.
    pub op: BlockOp,
    /// To be durable when it is done: only if the disk's flags have `FUA`.
    pub fua: bool,
    /// The first block; 0 for a flush.
    pub first: u64,
    /// How many blocks; 0 for a flush.
    pub blocks: u32,
    /// Where the data is, for the device: the start of a page of 4096 bytes. As long as [`data`](Self::data), which may
    /// end within a page.
    pub iova: u64,
    /// The data of a read or a write; otherwise it is empty.
    pub data: DmaBytes<'a>,
}

/// Requests that a driver may take in this call. What it does not take stays in the ring.
pub struct Requested<'a> {
    ring: &'a mut RequestRing,
    window: Span,
    window_iova: u64,
    at: u32,
    end: u32,
}

impl<'a> Requested<'a> {
    #[inline(always)]
    fn new(ring: &'a mut RequestRing, window: Span, window_iova: u64, budget: u32) -> Self {
        let RingHeader { produced, consumed } = ring.header();
        let end = consumed.wrapping_add(produced.wrapping_sub(consumed).min(budget));
        Requested { ring, window, window_iova, at: consumed, end }
    }

    /// Returns how many are left.
    #[inline(always)]
    pub fn left(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }

    #[inline(always)]
    fn request(&self, words: RequestWords) -> Option<Request<'a>> {
        let BlockRequest { op, flags, first, blocks, len_bytes, offset, .. } = BlockRequest::from_words(words);
        let ticket = RequestTicket { first: words[0] & TICKET };
        let (op, fua) = (BlockOp::from_u8(op)?, flags & request_flags::FUA != 0);
        let data = DmaBytes::new(self.window.part(offset, len_bytes).ok()?);
        Some(Request { ticket, op, fua, first, blocks, iova: self.window_iova + u64::from(offset), data })
    }
}

/// The bits of a request's first word that a completion returns: id and generation.
const TICKET: u64 = (1 << 48) - 1;

impl<'a> Iterator for Requested<'a> {
    type Item = Request<'a>;

    /// Takes the next one. One that makes no sense ends the batch, for a host's entries always do.
    #[inline(always)]
    fn next(&mut self) -> Option<Request<'a>> {
        if self.at == self.end {
            return None;
        }
        let request = self.request(self.ring.get(self.at))?;
        self.at = self.at.wrapping_add(1);
        Some(request)
    }
}

impl Drop for Requested<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.ring.set_consumed(self.at);
    }
}

/// Completions that a driver may make in this call.
pub struct Completing<'a> {
    ring: &'a mut CompletionRing,
    at: u32,
    end: u32,
}

impl<'a> Completing<'a> {
    #[inline(always)]
    fn new(ring: &'a mut CompletionRing, budget: u32) -> Self {
        let RingHeader { produced, consumed } = ring.header();
        // The host has taken out what earlier calls put in, and gives fewer requests than the ring has places.
        let room = QUEUE_CAPACITY.saturating_sub(produced.wrapping_sub(consumed));
        Completing { ring, at: produced, end: produced.wrapping_add(room.min(budget)) }
    }

    /// Returns how many more it may make. In `stop` that is enough for all that it has.
    #[inline(always)]
    pub fn room(&self) -> u32 {
        self.end.wrapping_sub(self.at)
    }

    /// Returns the place for the next one; `None` if the budget is used up.
    #[inline(always)]
    pub fn vacant(&mut self) -> Option<CompletionPlace<'_, 'a>> {
        (self.at != self.end).then_some(CompletionPlace(self))
    }
}

impl Drop for Completing<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.ring.set_produced(self.at);
    }
}

/// A place for a completion; nothing happens if it is not used.
pub struct CompletionPlace<'r, 'a>(&'r mut Completing<'a>);

impl CompletionPlace<'_, '_> {
    /// Completes a request that was done.
    #[inline(always)]
    pub fn done(self, ticket: RequestTicket) {
        self.put(ticket, BlockStatus::Done, 0);
    }

    /// Completes a request that the device failed at. `detail` is what it said, for people.
    #[inline(always)]
    pub fn failed(self, ticket: RequestTicket, detail: u32) {
        self.put(ticket, BlockStatus::Failed, detail);
    }

    /// Returns a request that was not done and that the device will not do any more, because service ends.
    pub fn unused(self, ticket: RequestTicket) {
        self.put(ticket, BlockStatus::Unused, 0);
    }

    #[inline(always)]
    fn put(self, ticket: RequestTicket, status: BlockStatus, detail: u32) {
        let CompletionPlace(batch) = self;
        let rest = BlockCompletion { status: status as u16, detail, ..BlockCompletion::default() }.to_words();
        // Not before the counter is written is there an entry, and a rollback puts the counter back.
        batch.ring.set_free(batch.at, [ticket.first | rest[0], rest[1]]);
        batch.at = batch.at.wrapping_add(1);
    }
}
