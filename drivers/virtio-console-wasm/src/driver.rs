//! The four verbs: find the console, take its queues into use, move bytes in `poll`, and let interrupts ask for it.

use nook_sdk::serial::{control, modem};
use nook_sdk::{Irq, Kernel, LineSettings, Nook, Poll, ProbeReason, SerialDriver, SerialPort, Status, warn};
use nook_virtio::{Device, DeviceType, Queue};
use virtio_regs::console::queue;

use crate::record::{Buffer, Memory, RECEIVE_BYTES, SEND_BYTES};

/// Each queue has one buffer.
const ENTRIES: usize = 4;
/// What programs may set at most: a console has no rate.
const MOST_BAUD: u32 = 4_000_000;
/// How long the other side may take for what it was given last.
const DRAINED_NS: u64 = 2_000_000_000;
const LOOK_NS: u64 = 200_000;
const STRAY: &str = "the console is done with what it was not given";

/// The queues, while the console is on.
struct Queues {
    receive: Queue<ENTRIES>,
    transmit: Queue<ENTRIES>,
}

/// The driver of one console.
pub struct VirtioConsole<K: Kernel> {
    nook: Nook<K>,
    memory: Memory<K>,
    device: Device<K>,
    queues: Option<Queues>,
    received: Buffer,
    sent: Buffer,
}

impl<K: Kernel> SerialDriver<K> for VirtioConsole<K> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let (memory, received, sent) = Memory::new(nook, reason == ProbeReason::Restart)?;
        let device = Device::new(nook, DeviceType::Console)?;
        Ok(VirtioConsole { nook, memory, device, queues: None, received, sent })
    }

    fn port(&self) -> SerialPort {
        SerialPort { fifo_bytes: RECEIVE_BYTES as u32, most_baud: MOST_BAUD }
    }

    fn remove(mut self) {
        // It says why it cannot.
        let _ = self.device.reset();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.device.enable_interrupts()?;
        if let Err(status) = self.turn_on() {
            let _ = self.turn_off();
            self.device.disable_interrupts()?;
            return Err(status);
        }
        // It has no such lines: the other side is always there.
        self.nook.modem(modem::CTS | modem::DSR | modem::CARRIER);
        self.nook.poll_schedule(0);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        if self.queues.is_none() {
            return Ok(());
        }
        let nook = self.nook;
        let drained = nook.poll_until(DRAINED_NS, LOOK_NS, || {
            self.begin();
            self.reclaim();
            self.end();
            self.sent.len == 0
        });
        if drained.is_err() {
            warn!(nook, "the other side does not take {} bytes: they end with the queue, or come again", self.sent.len);
        }
        let silent = self.turn_off();
        silent.and(self.device.disable_interrupts())
    }

    /// Takes any: bytes look in no way here.
    fn set_line(&mut self, _: LineSettings) -> Result<(), Status> {
        Ok(())
    }

    fn set_control(&mut self, lines: u32) -> Result<(), Status> {
        if lines & (control::LOOPBACK | control::BREAK) == 0 { Ok(()) } else { Err(Status::Unsupported) }
    }

    fn poll(&mut self, budget: u32, send: bool) -> Poll {
        self.begin();
        self.reclaim();
        let more = self.hand_over(budget);
        if send {
            self.fetch();
        }
        if more | self.end() { Poll::Again } else { Poll::Idle }
    }

    fn irq(&mut self, vector: u32) -> Irq {
        let causes = self.device.causes(vector);
        // Ends the driver: the next one resets the console.
        assert!(!causes.config || !self.device.needs_reset(), "the console says that it needs a reset");
        match causes.queues {
            true => Irq::HandledPoll,
            false if causes.config => Irq::Handled,
            false => Irq::NotMine,
        }
    }
}

impl<K: Kernel> VirtioConsole<K> {
    /// Negotiates, of which there is nothing but what is always agreed on, and takes the queues into use, with what
    /// there still is to be sent.
    fn turn_on(&mut self) -> Result<(), Status> {
        self.device.negotiate(0)?;
        let (receive, transmit) = (self.device.queue(queue::RECEIVE)?, self.device.queue(queue::TRANSMIT)?);
        let queues = self.queues.insert(Queues { receive, transmit });
        (self.received.taken, self.sent.taken) = (0, 0);
        self.memory.note_received(self.received);
        self.memory.note_sent(self.sent);
        if self.received.len == 0 {
            queues.receive.add(0, &[], &[self.memory.receive_buffer()])?;
        }
        if self.sent.len > 0 {
            queues.transmit.add(0, &[self.memory.send_buffer().part(0, self.sent.len.into())?], &[])?;
        }
        self.end();
        // QEMU takes a device whose DMA is off for one that is not started.
        self.nook.dma_enable()?;
        self.device.start();
        Ok(())
    }

    /// Resets the console: it touches no memory any more.
    fn turn_off(&mut self) -> Result<(), Status> {
        let silent = self.device.reset();
        self.nook.dma_disable()?;
        self.queues = None;
        silent
    }

    /// Tells the console what earlier calls have added.
    fn begin(&mut self) {
        if let Some(Queues { receive, transmit }) = &mut self.queues {
            receive.begin(&self.device);
            transmit.begin(&self.device);
        }
    }

    /// Makes ready what this call has added. Returns whether there is something that the console does not know of.
    fn end(&mut self) -> bool {
        let device = &self.device;
        self.queues.as_mut().is_some_and(|Queues { receive, transmit }| receive.end(device) | transmit.end(device))
    }

    /// Reclaims what the console is done with.
    ///
    /// # Panics
    /// If it makes no sense any more: that ends the driver, and the next one resets it.
    fn reclaim(&mut self) {
        let Some(Queues { receive, transmit }) = &mut self.queues else { return };
        if transmit.take().expect(STRAY).is_some() {
            self.sent = Buffer { taken: self.sent.taken.wrapping_add(1), ..Buffer::default() };
            self.memory.note_sent(self.sent);
        }
        if let Some(used) = receive.take().expect(STRAY) {
            assert!((1..=RECEIVE_BYTES as u32).contains(&used.written), "{STRAY}: {} bytes", used.written);
            self.received = Buffer { taken: self.received.taken.wrapping_add(1), len: used.written as u16, at: 0 };
            self.memory.note_received(self.received);
        }
    }

    /// Hands over what was received, and gives the console an empty buffer. Returns whether there is more than the
    /// budget.
    fn hand_over(&mut self, budget: u32) -> bool {
        let Some(Queues { receive, .. }) = &mut self.queues else { return false };
        if self.received.len == 0 {
            return false;
        }
        let mut left = budget;
        while self.received.at < self.received.len {
            if left == 0 {
                return true;
            }
            left -= 1;
            let byte = self.memory.receive_buffer().read(self.received.at.into()).expect("its own memory");
            // First: a byte may be lost with the driver, and none is handed over twice.
            self.received.at += 1;
            self.memory.note_received(self.received);
            self.nook.received(byte, 0);
        }
        self.received = Buffer { taken: self.received.taken, ..Buffer::default() };
        self.memory.note_received(self.received);
        receive.add(0, &[], &[self.memory.receive_buffer()]).expect("a queue that is empty has room");
        false
    }

    /// Gives the console what is to be sent, if it is done with what it had.
    fn fetch(&mut self) {
        let Some(Queues { transmit, .. }) = &mut self.queues else { return };
        if self.sent.len > 0 {
            return;
        }
        let (buffer, mut len) = (self.memory.send_buffer(), 0);
        while len < SEND_BYTES as u32 {
            let Some(byte) = self.nook.next_byte() else { break };
            buffer.write(len, byte).expect("its own memory");
            len += 1;
        }
        if len == 0 {
            return;
        }
        self.sent.len = len as u16;
        self.memory.note_sent(self.sent);
        let bytes = buffer.part(0, len).expect("its own memory");
        transmit.add(0, &[bytes], &[]).expect("a queue that is empty has room");
    }
}
