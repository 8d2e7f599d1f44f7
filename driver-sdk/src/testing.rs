//! A host for unit tests: memory that looks like a driver's, and a kernel that writes down every hostcall and passes
//! register accesses to a device that the test brings.
//!
//! It checks nothing: that is the real host's business. It is not for running a driver.
//!
//! ```
//! use std::cell::RefCell;
//! use std::rc::Rc;
//!
//! use nook_sdk::Register;
//! use nook_sdk::testing::{Device, TestHost};
//!
//! /// A device whose one register counts how often it was read.
//! struct Counter(u64);
//!
//! impl Device for Counter {
//!     fn config_read(&mut self, _: u32, _: u32) -> u32 {
//!         0
//!     }
//!     fn read(&mut self, _bar: u32, _offset: u32, _width_bytes: u32) -> u64 {
//!         self.0 += 1;
//!         self.0
//!     }
//!     fn write(&mut self, _: u32, _: u32, _: u32, _: u64) {}
//! }
//!
//! let host = TestHost::new();
//! host.plug(&Rc::new(RefCell::new(Counter(0))));
//! let regs = host.nook().regs(0);
//! let counter = Register::<u32>::at(8);
//! assert_eq!([regs.read(counter), regs.read(counter)], [1, 2]);
//! assert_eq!(host.calls(), ["mmio_read32 [0, 8]", "mmio_read32 [0, 8]"]);
//! ```
//!
//! A whole driver is an [`Instance`](crate::Instance) over [`TestHost::kernel`], whose entries a test calls as the host
//! does; docs/tutorial.md has one.

use std::boxed::Box;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec;
use std::vec::Vec;

use nook_abi::block::{BlockCompletion, BlockPage, BlockQueue, BlockRequest};
pub use nook_abi::net::Queue;
use nook_abi::net::{NetPage, PoolLayout, QueueEntry, SIDES_BYTES, Side};
use nook_abi::serial::NOTHING;
use nook_abi::{
    Addr, DOORBELLS, HOST_PAGE_MAGIC, HostPage, MAILBOX_BYTES, QUEUE_CAPACITY, RingHeader, Status, ring_bytes,
};

use crate::kernel::Calls;
use crate::raw::Page;
use crate::{Kernel, Nook};

/// What `dma_alloc` can give out, at the start of the window.
const DMA_BYTES: usize = 1 << 20;
/// The class's buffers, after it.
const BUFFERS: usize = 600;
const BUFFER_BYTES: usize = 2048;
/// Buffers of a disk's driver, from the same place on.
const TRANSFERS: usize = 16;
const TRANSFER_BYTES: usize = 64 * 1024;
const _: () = assert!(TRANSFERS * TRANSFER_BYTES <= BUFFERS * BUFFER_BYTES);
/// Bytes of the largest entry that a ring has.
const LARGEST_ENTRY: usize = size_of::<BlockRequest>();
const WINDOW_BYTES: usize = DMA_BYTES + BUFFERS * BUFFER_BYTES;
/// Where the device sees the window: past 4 GiB, so that a lost upper half is noticed,
const WINDOW_IOVA: u64 = 0x1_1000_0000;
/// or, for a device that can name 32 bits, so that it ends where they do.
const LOW_WINDOW_IOVA: u64 = (1 << 32) - WINDOW_BYTES as u64;

/// A device under test: what register accesses do. It is shared with the test that drives it.
pub trait Device {
    /// Reads `width_bytes` at `offset` of configuration space.
    fn config_read(&mut self, offset: u32, width_bytes: u32) -> u32;
    /// Reads `width_bytes` at `offset` of `bar`.
    fn read(&mut self, bar: u32, offset: u32, width_bytes: u32) -> u64;
    /// Writes `width_bytes` at `offset` of `bar`.
    fn write(&mut self, bar: u32, offset: u32, width_bytes: u32, value: u64);
}

/// The DMA window, as a device sees it. Numbers are little endian.
#[derive(Clone, Copy)]
pub struct Window {
    memory: *mut u8,
    iova: u64,
}

impl Window {
    fn at(self, iova: u64, len_bytes: usize) -> *mut u8 {
        let offset =
            iova.checked_sub(self.iova).filter(|at| at.saturating_add(len_bytes as u64) <= WINDOW_BYTES as u64);
        let offset = offset.unwrap_or_else(|| panic!("DMA outside the window: {len_bytes} bytes at {iova:#x}"));
        // SAFETY: the window has at least this many bytes.
        unsafe { self.memory.add(offset as usize) }
    }

    /// Reads the word of 32 bits at `iova`.
    ///
    /// # Panics
    /// If it is not an aligned word of the window.
    pub fn read(self, iova: u64) -> u32 {
        assert_eq!(iova % 4, 0, "DMA to half a word, at {iova:#x}");
        // SAFETY: an aligned word of leaked memory: `at` has checked where it is.
        u32::from_le(unsafe { self.at(iova, 4).cast::<u32>().read_volatile() })
    }

    /// Writes the word of 32 bits at `iova`.
    ///
    /// # Panics
    /// If it is not an aligned word of the window.
    pub fn write(self, iova: u64, word: u32) {
        assert_eq!(iova % 4, 0, "DMA to half a word, at {iova:#x}");
        // SAFETY: an aligned word of leaked memory: `at` has checked where it is.
        unsafe { self.at(iova, 4).cast::<u32>().write_volatile(word.to_le()) }
    }

    /// Reads the bytes at `iova`.
    ///
    /// # Panics
    /// If they are not all in the window.
    pub fn read_bytes(self, iova: u64, into: &mut [u8]) {
        // SAFETY: as many bytes of leaked memory: `at` has checked where they are. No slice overlaps them.
        unsafe { self.at(iova, into.len()).copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) }
    }

    /// Writes the bytes at `iova`.
    ///
    /// # Panics
    /// If they do not all fit into the window.
    pub fn write_bytes(self, iova: u64, bytes: &[u8]) {
        // SAFETY: as many bytes of leaked memory: `at` has checked where they are. No slice overlaps them.
        unsafe { self.at(iova, bytes.len()).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

/// Memory and kernel of one driver. What it holds is leaked: tests are short, and drivers keep raw addresses.
pub struct TestHost {
    state: &'static RefCell<State>,
    page: *mut HostPage,
    window: Window,
    rings: [*mut u8; 4],
}

#[derive(Default)]
struct State {
    calls: Vec<String>,
    clock_ns: u64,
    dma_next: u32,
    dma_regions: u32,
    answers: Vec<(&'static str, u64)>,
    device: Option<Rc<RefCell<dyn Device>>>,
    /// What `serial_next` answers.
    to_send: VecDeque<u8>,
}

/// The kernel.
#[derive(Clone, Copy)]
pub struct TestKernel(&'static RefCell<State>);

fn leak(bytes: usize) -> *mut u8 {
    Box::leak(vec![0u128; bytes.div_ceil(16) + 4].into_boxed_slice()).as_mut_ptr().cast()
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// Creates a host without a device: registers read as 0. The device sees the window past 4 GiB.
    pub fn new() -> Self {
        Self::with_window_at(WINDOW_IOVA)
    }

    /// Creates one whose device sees the window below 4 GiB, as the host arranges it for a driver whose manifest has a
    /// `dma_mask_bits` of 32.
    pub fn below_4_gib() -> Self {
        Self::with_window_at(LOW_WINDOW_IOVA)
    }

    fn with_window_at(iova: u64) -> Self {
        let state = &*Box::leak(Box::new(RefCell::new(State::default())));
        let mut sides = [0; 4];
        sides[Queue::TxProvide as usize] = leak(SIDES_BYTES) as u64;
        let rings = [0; 4].map(|_: u8| {
            let memory = leak(ring_bytes(LARGEST_ENTRY) + 64);
            // SAFETY: the allocation is 64 bytes longer than the ring.
            unsafe { memory.add(memory.align_offset(64)) }
        });
        let memory = leak(WINDOW_BYTES + 4096);
        // The host's window begins with a page.
        // SAFETY: the allocation is a page longer than the window.
        let window = Window { memory: unsafe { memory.add(memory.align_offset(4096)) }, iova };
        let pool = PoolLayout {
            offset: DMA_BYTES as u32,
            count: BUFFERS as u32,
            stride_bytes: BUFFER_BYTES as u32,
            headroom_bytes: 0,
            room_bytes: BUFFER_BYTES as u32,
            reserved: 0,
        };
        let page = Box::leak(Box::new(HostPage {
            magic: HOST_PAGE_MAGIC,
            window_addr: window.memory as u64,
            window_len_bytes: WINDOW_BYTES as u64,
            window_iova: iova,
            mailbox_addr: leak(MAILBOX_BYTES) as u64,
            irq_vectors: 1,
            class: NetPage { rings: rings.map(|ring| ring as u64), sides, pool, ..NetPage::default() }.to_words(),
            ..HostPage::default()
        }));
        TestHost { state, page, window, rings }
    }

    /// Puts a device behind the registers.
    pub fn plug<D: Device + 'static>(&self, device: &Rc<RefCell<D>>) {
        self.state.borrow_mut().device = Some(device.clone());
    }

    /// Returns what answers a driver's hostcalls.
    pub fn kernel(&self) -> TestKernel {
        TestKernel(self.state)
    }

    /// Returns the address of the host page.
    pub fn page(&self) -> Addr {
        self.page as Addr
    }

    /// Lets a driver leave doorbells; unless this is called, each is a hostcall.
    pub fn take_doorbells(&self) {
        // SAFETY: leaked memory of this host.
        unsafe { (&raw mut (*self.page).doorbell_room).write(DOORBELLS as u32) };
    }

    /// Returns a copy of the host page.
    pub fn page_now(&self) -> HostPage {
        // SAFETY: leaked memory of this host.
        unsafe { self.page.read() }
    }

    /// Returns what the network class has in the host page.
    pub fn net_page(&self) -> NetPage {
        NetPage::from_words(&self.page_now().class)
    }

    /// Returns what a driver gets in `probe`.
    pub fn nook(&self) -> Nook<TestKernel> {
        // SAFETY: the kernel is this host's, which is never freed and cannot leave its thread.
        let calls = unsafe { Calls::new(self.kernel()) };
        // SAFETY: the page and what it names is leaked memory of this host, which cannot leave its thread.
        let page = unsafe { Page::new(self.page()) }.expect("this host has filled it in");
        Nook::new(calls, page)
    }

    /// Returns the DMA window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Returns the hostcalls so far, but for `clock_ns`, as `name [arguments]`.
    pub fn calls(&self) -> Vec<String> {
        self.state.borrow().calls.clone()
    }

    /// Takes the hostcalls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        core::mem::take(&mut self.state.borrow_mut().calls)
    }

    /// Sets what the hostcall `name` answers from now on.
    pub fn answer(&self, name: &'static str, value: u64) {
        self.state.borrow_mut().answers.push((name, value));
    }

    /// Gives a serial line's driver these bytes to send.
    pub fn send(&self, bytes: &[u8]) {
        self.state.borrow_mut().to_send.extend(bytes);
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        let now_ns = {
            let mut state = self.state.borrow_mut();
            state.clock_ns += ns;
            state.clock_ns
        };
        // SAFETY: leaked memory of this host.
        unsafe { (*self.page).now_ns = now_ns }
    }

    /// Returns what is in the mailbox, from its beginning.
    ///
    /// # Panics
    /// If it is shorter.
    pub fn mailbox(&self, len_bytes: usize) -> Vec<u8> {
        assert!(len_bytes <= MAILBOX_BYTES);
        let mut bytes = vec![0; len_bytes];
        // SAFETY: the mailbox is leaked memory with this many bytes.
        unsafe { bytes.as_mut_ptr().copy_from(self.page_now().mailbox_addr as usize as *const u8, len_bytes) }
        bytes
    }

    /// Fills the mailbox.
    ///
    /// # Panics
    /// If it is too small.
    pub fn mail(&self, bytes: &[u8]) {
        assert!(bytes.len() <= MAILBOX_BYTES);
        // SAFETY: the mailbox is leaked memory with room for this many bytes.
        unsafe { (self.page_now().mailbox_addr as usize as *mut u8).copy_from(bytes.as_ptr(), bytes.len()) }
    }

    fn header(&self, ring: usize) -> *mut RingHeader {
        self.rings[ring].cast()
    }

    fn entry<E>(&self, ring: usize, at: u32) -> *mut E {
        let offset = size_of::<RingHeader>() + (at % QUEUE_CAPACITY) as usize * size_of::<E>();
        // SAFETY: inside the ring, whose entries have as many bytes at most.
        unsafe { self.rings[ring].add(offset) }.cast()
    }

    /// Puts an entry into a ring to the driver, which has a place.
    fn put<E>(&self, ring: usize, entry: E) {
        // SAFETY: leaked memory of this host.
        unsafe {
            let at = (*self.header(ring)).produced;
            self.entry::<E>(ring, at).write(entry);
            (*self.header(ring)).produced = at.wrapping_add(1);
        }
    }

    /// Takes everything out of a ring from the driver.
    fn take<E>(&self, ring: usize) -> Vec<E> {
        // SAFETY: leaked memory of this host.
        unsafe {
            let RingHeader { produced, consumed } = self.header(ring).read();
            (*self.header(ring)).consumed = produced;
            (0..produced.wrapping_sub(consumed))
                .map(|i| self.entry::<E>(ring, consumed.wrapping_add(i)).read())
                .collect()
        }
    }

    fn in_ring(&self, ring: usize) -> u32 {
        // SAFETY: leaked memory of this host.
        let RingHeader { produced, consumed } = unsafe { self.header(ring).read() };
        produced.wrapping_sub(consumed)
    }

    /// Puts an entry into a queue to the driver.
    ///
    /// # Panics
    /// If it is full.
    pub fn provide(&self, queue: Queue, entry: QueueEntry) {
        assert!(self.waiting(queue) < QUEUE_CAPACITY, "{queue} is full");
        self.put(queue as usize, entry);
    }

    /// Puts an entry into the queue that has a side array, and says that `side` stands beside it.
    ///
    /// # Panics
    /// If the queue is full.
    pub fn provide_beside(&self, entry: QueueEntry, side: Side) {
        // SAFETY: leaked memory of this host; the side array has as many places as the ring.
        unsafe {
            let at = (*self.header(Queue::TxProvide as usize)).produced % QUEUE_CAPACITY;
            let sides = self.net_page().sides[Queue::TxProvide as usize] as usize as *mut Side;
            sides.add(at as usize).write(side);
        }
        self.provide(Queue::TxProvide, entry);
    }

    /// Returns how many entries wait in a queue to be taken.
    pub fn waiting(&self, queue: Queue) -> u32 {
        self.in_ring(queue as usize)
    }

    /// Takes everything out of a queue from the driver.
    pub fn returned(&self, queue: Queue) -> Vec<QueueEntry> {
        self.take(queue as usize)
    }

    /// Makes it the host of a disk's driver: the host page has what that class has there.
    pub fn with_disk(self) -> Self {
        let page = BlockPage {
            requests: self.rings[BlockQueue::Requests as usize] as u64,
            completions: self.rings[BlockQueue::Completions as usize] as u64,
            most_requests: TRANSFERS as u32,
            transfer_bytes: TRANSFER_BYTES as u32,
            disk_number: 0,
            queue_pairs: 0,
        };
        // SAFETY: leaked memory of this host.
        unsafe { (*self.page).class = page.to_words() };
        self
    }

    /// Returns where the data of the request with this id lies, in the window.
    pub fn transfer_offset(&self, id: u32) -> u32 {
        (DMA_BYTES + id as usize * TRANSFER_BYTES) as u32
    }

    /// Puts a request into the ring to a disk's driver.
    ///
    /// # Panics
    /// If it is full.
    pub fn request(&self, request: BlockRequest) {
        assert!(self.requests_waiting() < QUEUE_CAPACITY, "the ring is full");
        self.put(BlockQueue::Requests as usize, request);
    }

    /// Returns how many requests wait to be taken.
    pub fn requests_waiting(&self) -> u32 {
        self.in_ring(BlockQueue::Requests as usize)
    }

    /// Takes all completions of a disk's driver.
    pub fn completed(&self) -> Vec<BlockCompletion> {
        self.take(BlockQueue::Completions as usize)
    }
}

impl TestKernel {
    fn call(self, name: &'static str, args: &[u64]) -> u64 {
        let mut state = self.0.borrow_mut();
        if name != "clock_ns" {
            state.calls.push(format!("{name} {args:?}"));
        }
        if let Some(&(_, value)) = state.answers.iter().rfind(|(call, _)| *call == name) {
            return value;
        }
        let device = state.device.clone();
        let width_bytes = || name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap() / 8;
        match (name, device) {
            ("clock_ns", _) => state.clock_ns,
            ("serial_next", _) => state.to_send.pop_front().map_or(NOTHING.into(), u64::from),
            ("sleep_ns" | "delay_ns", _) => {
                state.clock_ns += args[0];
                0
            }
            ("dma_alloc", _) => {
                let offset = state.dma_next.next_multiple_of(args[1] as u32);
                if offset as usize + args[0] as usize > DMA_BYTES {
                    return Status::NoMemory.code() as i64 as u64;
                }
                state.dma_next = offset + args[0] as u32;
                state.dma_regions += 1;
                u64::from(state.dma_regions) << 32 | u64::from(offset)
            }
            (_, Some(device)) if name.starts_with("config_read") => {
                device.borrow_mut().config_read(args[0] as u32, width_bytes()).into()
            }
            (_, Some(device)) if name.starts_with("mmio_read") => {
                device.borrow_mut().read(args[0] as u32, args[1] as u32, width_bytes())
            }
            (_, Some(device)) if name.starts_with("mmio_write") => {
                device.borrow_mut().write(args[0] as u32, args[1] as u32, width_bytes(), args[2]);
                0
            }
            _ => 0,
        }
    }
}

macro_rules! number {
    (()) => {
        |_: u64| ()
    };
    ($ty:tt) => {
        |value: u64| value as $ty
    };
}

macro_rules! fake_kernel {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Kernel for TestKernel {
            $(unsafe fn $name(self, $($arg: $ty),*) -> $result {
                number!($result)(self.call(stringify!($name), &[$($arg as u64),*]))
            })*
        }
    };
}

nook_abi::hostcalls!(fake_kernel);
