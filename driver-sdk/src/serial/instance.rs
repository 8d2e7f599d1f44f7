//! A serial line's driver behind the raw calls of the entry table.

use core::marker::PhantomData;

use nook_abi::serial::{LineSettings, control, serial_poll};
use nook_abi::{ProbeReason, Status};

use super::driver::SerialDriver;
use crate::answers::code;
use crate::{Entries, Kernel, Nook};

/// A serial line's driver that was probed.
pub struct Running<K, D> {
    kernel: PhantomData<K>,
    driver: D,
}

impl<K: Kernel, D: SerialDriver<K>> Entries<K> for Running<K, D> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let driver = D::probe(nook, reason)?;
        match nook.attach_port(driver.port()) {
            Ok(()) => Ok(Running { kernel: PhantomData, driver }),
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

    fn poll(&mut self, _: u32, budget: u32, flags: u32) -> u32 {
        self.driver.poll(budget, flags & serial_poll::SEND != 0) as u32
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

    fn set_line(&mut self, baud: u32, format: u32) -> i32 {
        code(LineSettings::from_words(baud, format).ok_or(Status::Invalid).and_then(|line| self.driver.set_line(line)))
    }

    fn set_control(&mut self, lines: u32) -> i32 {
        code(if lines & !control::ALL == 0 { self.driver.set_control(lines) } else { Err(Status::Invalid) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::{Parity, SerialPort};
    use crate::testing::{TestHost, TestKernel};
    use crate::{Instance, Irq, Poll};

    /// Sends back what it was given last.
    struct Echo<K: Kernel> {
        nook: Nook<K>,
        line: LineSettings,
    }

    impl<K: Kernel> SerialDriver<K> for Echo<K> {
        fn probe(nook: Nook<K>, _: ProbeReason) -> Result<Self, Status> {
            Ok(Echo { nook, line: LineSettings::default() })
        }
        fn port(&self) -> SerialPort {
            SerialPort { fifo_bytes: 1, most_baud: 9600 }
        }
        fn remove(self) {}
        fn open(&mut self) -> Result<(), Status> {
            Ok(())
        }
        fn stop(&mut self) -> Result<(), Status> {
            Ok(())
        }
        fn set_line(&mut self, line: LineSettings) -> Result<(), Status> {
            self.line = line;
            Ok(())
        }
        fn set_control(&mut self, lines: u32) -> Result<(), Status> {
            self.nook.modem(lines);
            Ok(())
        }
        fn poll(&mut self, budget: u32, send: bool) -> Poll {
            if let Some(byte) = send.then(|| self.nook.next_byte()).flatten().filter(|_| budget > 0) {
                self.nook.received(byte, u32::from(self.line.data_bits) << 8);
            }
            Poll::Idle
        }
        fn irq(&mut self, _: u32) -> Irq {
            Irq::NotMine
        }
    }

    fn probed(host: &TestHost) -> Instance<TestKernel, Running<TestKernel, Echo<TestKernel>>> {
        let mut instance = Instance::new(host.kernel());
        // SAFETY: the page and what it names is leaked memory.
        assert_eq!(unsafe { instance.probe(0, host.page()) }, 0);
        instance
    }

    #[test]
    fn the_port_is_attached_when_the_device_was_found() {
        let host = TestHost::new();
        probed(&host);
        assert_eq!(host.calls(), ["serial_attach [1, 9600]"]);
    }

    #[test]
    fn bytes_are_fetched_only_if_there_are_some() {
        let host = TestHost::new();
        let mut instance = probed(&host);
        host.take_calls();
        assert_eq!((instance.poll(0, 4, 0), host.take_calls().len()), (0, 0));
        host.send(b"A");
        assert_eq!(instance.poll(0, 4, serial_poll::SEND), 0);
        assert_eq!(host.take_calls(), ["serial_next []", "serial_received [2113]"]);
        assert_eq!((instance.poll(0, 4, serial_poll::SEND), host.take_calls().len()), (0, 1));
    }

    #[test]
    fn settings_that_are_none_never_reach_the_driver() {
        let host = TestHost::new();
        let mut instance = probed(&host);
        host.take_calls();
        let odd = LineSettings { baud: 300, data_bits: 7, parity: Parity::Odd, stop_bits: 2 };
        assert_eq!((instance.set_line(300, odd.format()), instance.set_line(300, 9)), (0, Status::Invalid.code()));
        assert_eq!((instance.set_control(3), instance.set_control(16)), (0, Status::Invalid.code()));
        assert_eq!(host.take_calls(), ["serial_modem [3]"]);
    }
}
