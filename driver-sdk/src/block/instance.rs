//! A disk's driver behind the raw calls of the entry table.

use core::marker::PhantomData;

use nook_abi::{ProbeReason, QUEUE_CAPACITY, Status};

use super::driver::BlockDriver;
use super::queues::BlockQueues;
use crate::answers::code;
use crate::{Entries, Kernel, Nook};

/// A disk's driver that was probed.
pub struct Running<K, D> {
    kernel: PhantomData<K>,
    driver: D,
    queues: BlockQueues,
}

impl<K: Kernel, D: BlockDriver<K>> Entries<K> for Running<K, D> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let driver = D::probe(nook, reason)?;
        match nook.attach_disk(&driver.disk()) {
            Ok(()) => Ok(Running { kernel: PhantomData, driver, queues: BlockQueues::new(nook.page()) }),
            Err(status) => {
                driver.remove();
                Err(status)
            }
        }
    }

    fn remove(self) {
        self.driver.remove();
    }

    fn open(&mut self) -> i32 {
        code(self.driver.open())
    }

    fn stop(&mut self) -> i32 {
        let Running { driver, queues, .. } = self;
        code(driver.stop(&mut queues.completing(QUEUE_CAPACITY)))
    }

    #[inline]
    fn poll(&mut self, _: u32, budget: u32, _: u32) -> u32 {
        let Running { driver, queues, .. } = self;
        let (mut requested, mut completing) = queues.begin(budget);
        driver.poll(&mut requested, &mut completing) as u32
    }

    #[inline]
    fn irq(&mut self, vector: u32) -> u32 {
        self.driver.irq(vector) as u32
    }

    fn timer(&mut self) {
        self.driver.timer();
    }

    fn work(&mut self) {
        self.driver.work();
    }
}
