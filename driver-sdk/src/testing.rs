//! A host for unit tests: memory that looks like a driver's, and a kernel that writes down every hostcall.

use std::boxed::Box;
use std::cell::RefCell;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use nook_abi::{
    Addr, HOST_PAGE_MAGIC, HostPage, MAILBOX_BYTES, QUEUE_CAPACITY, Queue, QueueEntry, RING_BYTES, RingHeader, Status,
};

use crate::{Kernel, Nook};

const WINDOW_BYTES: usize = 64 * 1024;

/// Memory and kernel of one driver. What it holds is leaked: tests are short, and drivers keep raw addresses.
pub struct Host {
    state: &'static RefCell<State>,
    page: *mut HostPage,
    window: *mut u32,
    rings: [*mut u8; 4],
}

#[derive(Default)]
struct State {
    calls: Vec<String>,
    clock_ns: u64,
    dma_next: u32,
    dma_regions: u32,
    answers: Vec<(&'static str, u64)>,
}

/// The kernel.
#[derive(Clone, Copy)]
pub struct Fake(&'static RefCell<State>);

fn leak(bytes: usize) -> *mut u8 {
    Box::leak(vec![0u128; bytes.div_ceil(16) + 4].into_boxed_slice()).as_mut_ptr().cast()
}

impl Host {
    pub fn new() -> Self {
        let state = &*Box::leak(Box::new(RefCell::new(State::default())));
        let rings = [0; 4].map(|_: u8| {
            let memory = leak(RING_BYTES + 64);
            // SAFETY: the allocation is 64 bytes longer than the ring.
            unsafe { memory.add(memory.align_offset(64)) }
        });
        let window = leak(WINDOW_BYTES).cast::<u32>();
        let page = Box::leak(Box::new(HostPage {
            magic: HOST_PAGE_MAGIC,
            window_addr: window as u64,
            window_len_bytes: WINDOW_BYTES as u64,
            window_iova: 0x1000_0000,
            rings: rings.map(|ring| ring as u64),
            mailbox_addr: leak(MAILBOX_BYTES) as u64,
            irq_vectors: 1,
            ..HostPage::default()
        }));
        Host { state, page, window, rings }
    }

    pub fn kernel(&self) -> Fake {
        Fake(self.state)
    }

    pub fn page(&self) -> Addr {
        self.page as Addr
    }

    pub fn page_now(&self) -> HostPage {
        // SAFETY: leaked memory of this host.
        unsafe { self.page.read() }
    }

    pub fn nook(&self) -> Nook<Fake> {
        // SAFETY: the page and what it names is leaked memory; tests stay on their thread.
        unsafe { Nook::new(self.kernel(), self.page()) }.unwrap()
    }

    /// The hostcalls so far, as `name [arguments]`.
    pub fn calls(&self) -> Vec<String> {
        self.state.borrow().calls.clone()
    }

    /// What the hostcall `name` answers from now on.
    pub fn answer(&self, name: &'static str, value: u64) {
        self.state.borrow_mut().answers.push((name, value));
    }

    /// Fills the mailbox.
    pub fn mail(&self, bytes: &[u8]) {
        assert!(bytes.len() <= MAILBOX_BYTES);
        // SAFETY: the mailbox is leaked memory with room for so many bytes.
        unsafe { (self.page_now().mailbox_addr as usize as *mut u8).copy_from(bytes.as_ptr(), bytes.len()) }
    }

    /// Overwrites descriptor `slot` of the ring at `offset` in the window.
    pub fn device_writes(&self, offset: usize, slot: usize, words: [u32; 4]) {
        for (i, word) in words.into_iter().enumerate() {
            // SAFETY: tests stay inside of the window.
            unsafe { self.window.add(offset / 4 + slot * 4 + i).write_volatile(word) };
        }
    }

    /// The words of descriptor `slot` of the ring at `offset` in the window.
    pub fn slot(&self, offset: usize, slot: usize) -> [u32; 4] {
        // SAFETY: tests stay inside of the window.
        [0, 1, 2, 3].map(|i| unsafe { self.window.add(offset / 4 + slot * 4 + i).read_volatile() })
    }

    fn header(&self, queue: Queue) -> *mut RingHeader {
        self.rings[queue as usize].cast()
    }

    fn entry(&self, queue: Queue, at: u32) -> *mut QueueEntry {
        let offset = size_of::<RingHeader>() + (at % QUEUE_CAPACITY) as usize * size_of::<QueueEntry>();
        // SAFETY: inside of the ring.
        unsafe { self.rings[queue as usize].add(offset) }.cast()
    }

    pub fn provide(&self, queue: Queue, entry: QueueEntry) {
        // SAFETY: leaked memory of this host.
        unsafe {
            let at = (*self.header(queue)).produced;
            self.entry(queue, at).write(entry);
            (*self.header(queue)).produced = at.wrapping_add(1);
        }
    }

    /// Takes everything out of a return queue.
    pub fn returned(&self, queue: Queue) -> Vec<QueueEntry> {
        // SAFETY: leaked memory of this host.
        unsafe {
            let RingHeader { produced, consumed } = self.header(queue).read();
            (*self.header(queue)).consumed = produced;
            (0..produced.wrapping_sub(consumed)).map(|i| self.entry(queue, consumed.wrapping_add(i)).read()).collect()
        }
    }
}

impl Fake {
    fn call(self, name: &'static str, args: &[u64]) -> u64 {
        let mut state = self.0.borrow_mut();
        if name != "clock_ns" {
            state.calls.push(format!("{name} {args:?}"));
        }
        if let Some(&(_, value)) = state.answers.iter().rfind(|(call, _)| *call == name) {
            return value;
        }
        match name {
            "clock_ns" => state.clock_ns,
            "sleep_ns" | "delay_ns" => {
                state.clock_ns += args[0];
                0
            }
            "dma_alloc" => {
                let offset = state.dma_next.next_multiple_of(args[1] as u32);
                if offset as usize + args[0] as usize > WINDOW_BYTES {
                    return Status::NoMemory.code() as i64 as u64;
                }
                state.dma_next = offset + args[0] as u32;
                state.dma_regions += 1;
                u64::from(state.dma_regions) << 32 | u64::from(offset)
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
    ($({ $doc:literal } $class:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Kernel for Fake {
            $(unsafe fn $name(self, $($arg: $ty),*) -> $result {
                number!($result)(self.call(stringify!($name), &[$($arg as u64),*]))
            })*
        }
    };
}

nook_abi::hostcalls!(fake_kernel);
