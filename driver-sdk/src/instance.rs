//! [`Instance`]: from the raw calls of the entry table to a [`NetDriver`].

use nook_abi::net::{MOST_MULTICAST, loopback_mode, poll_flags};
use nook_abi::{Addr, ProbeReason, Status, irq_result, poll_result};

use crate::kernel::Calls;
use crate::raw::Page;
use crate::sieve::Sieve;
use crate::{Kernel, MacAddress, NetDriver, Nook, RxMode};

/// One driver and where its entries arrive, with the names, arguments and results of the entry table. The wasm
/// exports and the native backend call it. Before a `probe` that succeeded, and after `remove`, entries answer `Busy`
/// or 0.
pub struct Instance<K: Kernel, D> {
    kernel: K,
    running: Option<Running<K, D>>,
}

/// A driver that was probed.
struct Running<K, D> {
    nook: Nook<K>,
    driver: D,
    /// What asks the nook's filter, if it has one.
    sieve: Option<Sieve>,
}

impl<K: Kernel, D> Running<K, D> {
    /// Calls the driver. A filter sees each frame before the driver gets it, and before the host gets it.
    #[inline(always)]
    fn enter<R>(&mut self, run: impl FnOnce(&Nook<K>, &mut D) -> R) -> R {
        let Running { nook, driver, sieve } = self;
        if let Some(sieve) = sieve {
            sieve.before(nook);
        }
        let result = run(nook, driver);
        if let Some(sieve) = sieve {
            sieve.after(nook);
        }
        result
    }
}

fn code(result: Result<(), Status>) -> i32 {
    result.map_or_else(Status::code, |()| 0)
}

impl<K: Kernel, D: NetDriver<K>> Instance<K, D> {
    /// An instance whose driver was not probed yet.
    pub const fn new(kernel: K) -> Self {
        Instance { kernel, running: None }
    }

    fn with(&mut self, run: impl FnOnce(&mut D) -> Result<(), Status>) -> i32 {
        code(self.running.as_mut().map_or(Err(Status::Busy), |running| running.enter(|_, driver| run(driver))))
    }

    /// See the entry table. `Busy` if the driver is already there.
    ///
    /// # Safety
    /// `host_page` is the address of a [`HostPage`](nook_abi::HostPage) whose addresses (window, rings, mailbox) are
    /// valid for reads and writes, and stay so until `remove` has returned and the instance is dropped; the host
    /// writes to what they name only between calls (the device writes to the window at any time). The kernel keeps
    /// the promises of the hostcall table, and all calls to this instance are made on one thread.
    pub unsafe fn probe(&mut self, reason: u32, host_page: Addr) -> i32 {
        if self.running.is_some() {
            return Status::Busy.code();
        }
        let Some(reason) = ProbeReason::from_u32(reason) else { return Status::Invalid.code() };
        // SAFETY: the caller vouches for the page and what it names, until after the instance has dropped all that is
        // made of it here, and for one thread.
        let page = unsafe { Page::new(host_page) };
        // SAFETY: the caller vouches for the kernel and for one thread.
        let calls = unsafe { Calls::new(self.kernel) };
        let probed = page.and_then(|page| {
            let nook = Nook::new(calls, page);
            Ok(Running { nook, driver: D::probe(nook, reason)?, sieve: Sieve::new(page) })
        });
        match probed {
            Ok(running) => {
                self.running = Some(running);
                0
            }
            Err(status) => status.code(),
        }
    }

    /// See the entry table.
    pub fn remove(&mut self) {
        if let Some(running) = self.running.take() {
            running.driver.remove();
        }
    }

    /// See the entry table.
    pub fn open(&mut self) -> i32 {
        self.with(D::open)
    }

    /// See the entry table.
    pub fn stop(&mut self) -> i32 {
        self.with(D::stop)
    }

    /// See the entry table.
    #[inline]
    pub fn poll(&mut self, queue: u32, budget: u32, flags: u32) -> u32 {
        match &mut self.running {
            Some(running) if flags & poll_flags::DISCARD_NEXT_RX != 0 => {
                running.enter(|_, driver| driver.discard_rx(queue));
                poll_result::AGAIN
            }
            Some(running) => running.enter(|_, driver| driver.poll(queue, budget)) as u32,
            None => poll_result::IDLE,
        }
    }

    /// See the entry table.
    #[inline]
    pub fn irq(&mut self, vector: u32) -> u32 {
        let answer = self.running.as_mut().map_or(0, |running| running.enter(|_, driver| driver.irq(vector)) as u32);
        debug_assert_eq!(answer & !irq_result::ALL, 0);
        answer
    }

    /// See the entry table.
    pub fn timer(&mut self) {
        if let Some(running) = &mut self.running {
            running.enter(|_, driver| driver.timer());
        }
    }

    /// See the entry table.
    pub fn work(&mut self) {
        if let Some(running) = &mut self.running {
            running.enter(|_, driver| driver.work());
        }
    }

    /// See the entry table.
    pub fn set_mac(&mut self, mac: u64) -> i32 {
        let [a, b, c, d, e, f, rest @ ..] = mac.to_le_bytes();
        if rest != [0, 0] {
            return Status::Invalid.code();
        }
        self.with(|driver| driver.set_mac([a, b, c, d, e, f]))
    }

    /// See the entry table.
    pub fn set_mtu(&mut self, mtu_bytes: u32) -> i32 {
        self.with(|driver| driver.set_mtu(mtu_bytes))
    }

    /// See the entry table.
    pub fn set_rx_mode(&mut self, mode: u32, multicast_count: u32) -> i32 {
        let Some(running) = &mut self.running else { return Status::Busy.code() };
        let count = multicast_count as usize;
        if count > MOST_MULTICAST {
            return Status::Invalid.code();
        }
        let page = running.nook.page();
        let set = page.with_mail(count * size_of::<MacAddress>(), |mail| {
            let mode = RxMode::from_bits(mode, mail.as_chunks().0);
            running.enter(|_, driver| mode.and_then(|mode| driver.set_rx_mode(mode)))
        });
        code(set.flatten())
    }

    /// See the entry table.
    pub fn set_loopback(&mut self, mode: u32) -> i32 {
        match mode {
            loopback_mode::OFF => self.with(|driver| driver.set_loopback(false)),
            loopback_mode::ON => self.with(|driver| driver.set_loopback(true)),
            _ => Status::Invalid.code(),
        }
    }

    /// See the entry table.
    pub fn stats(&mut self) {
        if let Some(running) = &mut self.running {
            running.enter(|nook, driver| nook.post_stats(driver.stats()));
        }
    }
}
