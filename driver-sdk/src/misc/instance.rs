//! A misc driver behind the raw calls of the entry table.

use core::marker::PhantomData;

use nook_abi::{ProbeReason, Status};

use super::driver::Ticket;
use crate::answers::code;
use crate::{Entries, Input, Kernel, MiscDriver, Nook};

/// A misc driver that was probed.
pub struct Running<K: Kernel, D> {
    nook: Nook<K>,
    driver: D,
}

impl<K: Kernel, D: MiscDriver<K>> Entries<K> for Running<K, D> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let driver = D::probe(nook, reason)?;
        match nook.attach(D::OPERATIONS) {
            Ok(()) => Ok(Running { nook, driver }),
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
        code(self.driver.stop())
    }

    fn poll(&mut self, _: u32, _: u32, _: u32) -> u32 {
        self.driver.poll() as u32
    }

    fn irq(&mut self, vector: u32) -> u32 {
        self.driver.irq(vector) as u32
    }

    fn timer(&mut self) {
        self.driver.timer();
    }

    fn work(&mut self) {
        self.driver.work();
    }

    fn invoke(&mut self, ticket: u32, operation: u32, len_bytes: u32) -> i32 {
        let span = self.nook.page().mailbox().part(0, len_bytes);
        let invoked = span.and_then(|span| {
            let input = Input { span, call: PhantomData };
            self.driver.invoke(Ticket(ticket), operation, input)
        });
        code(invoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestHost, TestKernel};
    use crate::{Instance, Irq};
    use std::vec;
    use std::vec::Vec;

    type Adding = Instance<TestKernel, Running<TestKernel, Adder<TestKernel>>>;

    /// Adds up bytes: at once, or with the next interrupt if the first is 0xff.
    struct Adder<K: Kernel> {
        nook: Nook<K>,
        later: Option<(Ticket, u8)>,
    }

    impl<K: Kernel> MiscDriver<K> for Adder<K> {
        const OPERATIONS: &'static str = "add 0102 03";

        fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
            Ok(Adder { nook, later: None })
        }
        fn remove(self) {}
        fn open(&mut self) -> Result<(), Status> {
            Ok(())
        }
        fn stop(&mut self) -> Result<(), Status> {
            if let Some((ticket, _)) = self.later.take() {
                self.nook.complete(ticket, Err(Status::Busy));
            }
            Ok(())
        }
        fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status> {
            let mut bytes = [0; 4];
            let bytes = bytes.get_mut(..input.len_bytes() as usize).ok_or(Status::Invalid)?;
            input.read(0, bytes)?;
            let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            match (operation, bytes.first()) {
                (0, Some(0xff)) if self.later.is_some() => return Err(Status::Busy),
                (0, Some(0xff)) => self.later = Some((ticket, sum)),
                (0, _) => self.nook.complete(ticket, Ok(&[sum])),
                _ => return Err(Status::Unsupported),
            }
            Ok(())
        }
        fn irq(&mut self, _: u32) -> Irq {
            match self.later.take() {
                Some((ticket, sum)) => {
                    self.nook.complete(ticket, Ok(&[sum]));
                    Irq::Handled
                }
                None => Irq::NotMine,
            }
        }
    }

    fn probed(host: &TestHost) -> Adding {
        let mut instance = Instance::new(host.kernel());
        assert_eq!(instance.invoke(0, 0, 0), Status::Busy.code(), "there is no driver");
        // SAFETY: the page and what it names is leaked memory.
        assert_eq!(unsafe { instance.probe(0, host.page()) }, 0);
        instance
    }

    fn invoke(host: &TestHost, instance: &mut Adding, ticket: u32, operation: u32, input: &[u8]) -> i32 {
        host.mail(input);
        instance.invoke(ticket, operation, input.len() as u32)
    }

    #[test]
    fn operations_are_attached_when_the_device_was_found() {
        let host = TestHost::new();
        probed(&host);
        assert_eq!(host.calls(), ["misc_attach [11]"]);
        assert_eq!(host.mailbox(11), b"add 0102 03");
    }

    #[test]
    fn an_operation_is_completed_at_once_or_later() {
        let host = TestHost::new();
        let mut instance = probed(&host);
        host.take_calls();
        assert_eq!(invoke(&host, &mut instance, 7, 0, &[1, 2, 3]), 0);
        assert_eq!((host.take_calls(), host.mailbox(1)), (Vec::from(["misc_complete [7, 0, 1]".into()]), vec![6]));
        assert_eq!(invoke(&host, &mut instance, 8, 0, &[0xff, 3]), 0);
        assert_eq!(invoke(&host, &mut instance, 9, 0, &[0xff, 4]), Status::Busy.code());
        assert_eq!(host.take_calls(), Vec::<std::string::String>::new());
        assert_eq!((instance.irq(0), instance.irq(0)), (Irq::Handled as u32, 0));
        assert_eq!((host.take_calls(), host.mailbox(1)), (Vec::from(["misc_complete [8, 0, 1]".into()]), vec![2]));
    }

    #[test]
    fn what_was_open_when_service_ends_is_completed_without_a_result() {
        let host = TestHost::new();
        let mut instance = probed(&host);
        invoke(&host, &mut instance, 3, 0, &[0xff]);
        host.take_calls();
        assert_eq!(instance.stop(), 0);
        let status = Status::Busy.code() as u64;
        assert_eq!(host.take_calls(), [std::format!("misc_complete [3, {status}, 0]")]);
    }

    #[test]
    fn input_that_is_longer_than_the_mailbox_is_refused() {
        let host = TestHost::new();
        let mut instance = probed(&host);
        assert_eq!(instance.invoke(1, 0, nook_abi::MAILBOX_BYTES as u32 + 1), Status::Invalid.code());
        assert_eq!(invoke(&host, &mut instance, 1, 0, &[1; 5]), Status::Invalid.code());
        assert_eq!(invoke(&host, &mut instance, 1, 1, &[]), Status::Unsupported.code());
    }
}
