//! [`Instance`]: from the raw calls of the entry table to a [`NetDriver`].

use nook_abi::{Addr, MAILBOX_BYTES, ProbeReason, Status, irq_result, loopback_mode, poll_flags, poll_result};

use crate::{Kernel, MacAddress, NetDriver, Nook, RxMode};

/// One driver and where its entries arrive, with the names, arguments and results of the entry table. The wasm
/// exports and the native backend call it. Before a `probe` that succeeded, and after `remove`, entries answer `Busy`
/// or 0.
pub struct Instance<K: Kernel, D> {
    kernel: K,
    running: Option<(Nook<K>, D)>,
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
        code(self.running.as_mut().map_or(Err(Status::Busy), |(_, driver)| run(driver)))
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
        // SAFETY: passed on to our caller.
        let nook = match unsafe { Nook::new(self.kernel, host_page) } {
            Ok(nook) => nook,
            Err(status) => return status.code(),
        };
        match D::probe(nook, reason) {
            Ok(driver) => {
                self.running = Some((nook, driver));
                0
            }
            Err(status) => status.code(),
        }
    }

    /// See the entry table.
    pub fn remove(&mut self) {
        if let Some((_, driver)) = self.running.take() {
            driver.remove();
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
            Some((_, driver)) if flags & poll_flags::DISCARD_NEXT_RX != 0 => {
                driver.discard_rx(queue);
                poll_result::AGAIN
            }
            Some((_, driver)) => driver.poll(queue, budget) as u32,
            None => poll_result::IDLE,
        }
    }

    /// See the entry table.
    #[inline]
    pub fn irq(&mut self, vector: u32) -> u32 {
        let answer = self.running.as_mut().map_or(0, |(_, driver)| driver.irq(vector) as u32);
        debug_assert_eq!(answer & !irq_result::ALL, 0);
        answer
    }

    /// See the entry table.
    pub fn timer(&mut self) {
        if let Some((_, driver)) = &mut self.running {
            driver.timer();
        }
    }

    /// See the entry table.
    pub fn work(&mut self) {
        if let Some((_, driver)) = &mut self.running {
            driver.work();
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
        let Some((nook, driver)) = &mut self.running else { return Status::Busy.code() };
        let count = multicast_count as usize;
        if count > MAILBOX_BYTES / size_of::<MacAddress>() {
            return Status::Invalid.code();
        }
        let mailbox = nook.page().mailbox_addr as Addr as *const MacAddress;
        // SAFETY: `probe`'s caller vouched for the mailbox, which has room for so many and is not written to during
        // this call; byte arrays have no alignment.
        let multicast = unsafe { core::slice::from_raw_parts(mailbox, count) };
        code(RxMode::from_bits(mode, multicast).and_then(|mode| driver.set_rx_mode(mode)))
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
        if let Some((nook, driver)) = &mut self.running {
            let stats = driver.stats();
            nook.post_stats(stats);
        }
    }
}
