//! A network driver behind the raw calls of the entry table.

use nook_abi::net::{MOST_MULTICAST, counter_rule, loopback_mode, poll_flags};
use nook_abi::{ProbeReason, Status, irq_result, poll_result};

use super::filter_hook::FilterHook;
use crate::answers::code;
use crate::{Entries, Kernel, MacAddress, NetDriver, Nook, RxMode};

/// A network driver that was probed.
pub struct Running<K: Kernel, D> {
    nook: Nook<K>,
    driver: D,
    /// What asks the nook's filter, if it has one.
    filter_hook: Option<FilterHook>,
}

impl<K: Kernel, D> Running<K, D> {
    /// Calls the driver. A filter sees each frame before the driver gets it, and before the host gets it.
    #[inline(always)]
    fn enter<R>(&mut self, run: impl FnOnce(&Nook<K>, &mut D) -> R) -> R {
        let Running { nook, driver, filter_hook } = self;
        if let Some(filter_hook) = filter_hook {
            filter_hook.before(nook);
        }
        let result = run(nook, driver);
        if let Some(filter_hook) = filter_hook {
            filter_hook.after(nook);
        }
        result
    }

    fn with(&mut self, run: impl FnOnce(&mut D) -> Result<(), Status>) -> i32 {
        code(self.enter(|_, driver| run(driver)))
    }
}

impl<K: Kernel, D: NetDriver<K>> Entries<K> for Running<K, D> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        const {
            if !D::COUNTERS.is_empty()
                && let Some(rule) = counter_rule(D::COUNTERS)
            {
                panic!("{}", rule)
            }
        };
        let driver = D::probe(nook, reason)?;
        if !D::COUNTERS.is_empty()
            && let Err(status) = nook.name_counters(D::COUNTERS)
        {
            driver.remove();
            return Err(status);
        }
        Ok(Running { nook, driver, filter_hook: FilterHook::new(nook.page()) })
    }

    fn remove(self) {
        self.driver.remove();
    }

    fn open(&mut self) -> i32 {
        self.with(D::open)
    }

    fn stop(&mut self) -> i32 {
        self.with(D::stop)
    }

    #[inline]
    fn poll(&mut self, queue: u32, budget: u32, flags: u32) -> u32 {
        if flags & poll_flags::DISCARD_NEXT_RX != 0 {
            self.enter(|_, driver| driver.discard_rx(queue));
            return poll_result::AGAIN;
        }
        self.enter(|_, driver| driver.poll(queue, budget)) as u32
    }

    #[inline]
    fn irq(&mut self, vector: u32) -> u32 {
        let answer = self.enter(|_, driver| driver.irq(vector)) as u32;
        debug_assert_eq!(answer & !irq_result::ALL, 0);
        answer
    }

    fn timer(&mut self) {
        self.enter(|_, driver| driver.timer());
    }

    fn work(&mut self) {
        self.enter(|_, driver| driver.work());
    }

    fn stats(&mut self) {
        self.enter(|nook, driver| {
            if let Some(stats) = driver.stats() {
                nook.post_stats(stats);
            }
            if !D::COUNTERS.is_empty() {
                nook.report_counts(driver.counts());
            }
        });
    }

    fn set_mac(&mut self, mac: u64) -> i32 {
        let [a, b, c, d, e, f, rest @ ..] = mac.to_le_bytes();
        if rest != [0, 0] {
            return Status::Invalid.code();
        }
        self.with(|driver| driver.set_mac([a, b, c, d, e, f]))
    }

    fn set_mtu(&mut self, mtu_bytes: u32) -> i32 {
        self.with(|driver| driver.set_mtu(mtu_bytes))
    }

    fn set_rx_mode(&mut self, mode: u32, multicast_count: u32) -> i32 {
        let count = multicast_count as usize;
        if count > MOST_MULTICAST {
            return Status::Invalid.code();
        }
        let page = self.nook.page();
        let set = page.with_mail(count * size_of::<MacAddress>(), |mail| {
            let mode = RxMode::from_bits(mode, mail.as_chunks().0);
            self.enter(|_, driver| mode.and_then(|mode| driver.set_rx_mode(mode)))
        });
        code(set.flatten())
    }

    fn set_loopback(&mut self, mode: u32) -> i32 {
        match mode {
            loopback_mode::OFF => self.with(|driver| driver.set_loopback(false)),
            loopback_mode::ON => self.with(|driver| driver.set_loopback(true)),
            _ => Status::Invalid.code(),
        }
    }
}
