//! [`VirtioRng`]: the driver of one source of random bytes.

use nook_sdk::{DmaRegion, Input, Irq, Kernel, MiscDriver, Nook, Poll, ProbeReason, Status, Ticket, error};
use nook_virtio::{Device, DeviceType, Queue};

/// The one queue that there is, and its length: one buffer at a time.
const QUEUE: u16 = 0;
const ENTRIES: usize = 4;
/// The most bytes that an operation gives.
const MOST_BYTES: u32 = 2048;
/// The fewest that the device is asked for: of as many it is known whether it has written them.
const LEAST_BYTES: u32 = 16;
/// What a byte of the buffer is until the device writes it.
const UNWRITTEN: u8 = 0x5a;

/// Who waits for bytes: how many are wanted of the device, how many it has written, and how many of them to give.
struct Sought {
    ticket: Ticket,
    bytes: u32,
    written: u32,
    given: u32,
}

/// The driver of one source of random bytes.
pub struct VirtioRng<K: Kernel> {
    nook: Nook<K>,
    device: Device<K>,
    /// There while the device is on.
    queue: Option<Queue<ENTRIES>>,
    /// Where the device writes.
    buffer: DmaRegion<K>,
    wanted: Option<Sought>,
}

impl<K: Kernel> MiscDriver<K> for VirtioRng<K> {
    const OPERATIONS: &'static str = "random 20000000\n";

    fn probe(nook: Nook<K>, _reason: ProbeReason) -> Result<Self, Status> {
        let device = Device::new(nook, DeviceType::EntropySource)?;
        let buffer = nook.dma_alloc(MOST_BYTES, 4096)?;
        Ok(VirtioRng { nook, device, queue: None, buffer, wanted: None })
    }

    fn remove(mut self) {
        // It says why it cannot.
        let _ = self.device.reset();
    }

    fn open(&mut self) -> Result<(), Status> {
        self.device.enable_interrupts()?;
        let on = self.turn_on();
        if on.is_err() {
            let _ = self.turn_off();
            self.device.disable_interrupts()?;
        }
        on
    }

    fn stop(&mut self) -> Result<(), Status> {
        if self.queue.is_none() {
            return Ok(());
        }
        let silent = self.turn_off();
        if let Some(Sought { ticket, .. }) = self.wanted.take() {
            self.nook.complete(ticket, Err(Status::Busy));
        }
        silent.and(self.device.disable_interrupts())
    }

    fn invoke(&mut self, ticket: Ticket, operation: u32, input: Input<'_>) -> Result<(), Status> {
        if operation != 0 {
            return Err(Status::Unsupported);
        }
        let given = u32::from_le_bytes(input.array()?);
        if !(1..=MOST_BYTES).contains(&given) {
            return Err(Status::Invalid);
        }
        if self.wanted.is_some() {
            return Err(Status::Busy);
        }
        let bytes = given.max(LEAST_BYTES);
        self.buffer.bytes().part(0, bytes)?.write_bytes(0, &[UNWRITTEN; MOST_BYTES as usize][..bytes as usize])?;
        self.begin();
        self.ask(0, bytes)?;
        self.wanted = Some(Sought { ticket, bytes, written: 0, given });
        if self.end() {
            // The device learns of it then.
            self.nook.poll_schedule(0);
        }
        Ok(())
    }

    fn poll(&mut self) -> Poll {
        self.begin();
        if let Some(wanted) = self.wanted.take() {
            self.wanted = self.go_on(wanted);
        }
        if self.end() { Poll::Again } else { Poll::Idle }
    }

    fn irq(&mut self, vector: u32) -> Irq {
        let causes = self.device.causes(vector);
        // Ends the driver: the next one resets the device.
        assert!(!causes.config || !self.device.needs_reset(), "the device says that it needs a reset");
        match causes.queues {
            true => Irq::HandledPoll,
            false if causes.config => Irq::Handled,
            false => Irq::NotMine,
        }
    }
}

impl<K: Kernel> VirtioRng<K> {
    /// Negotiates, of which there is nothing but what is always agreed on, and takes the queue into use.
    fn turn_on(&mut self) -> Result<(), Status> {
        self.device.negotiate(0)?;
        self.queue = Some(self.device.queue(QUEUE)?);
        // QEMU takes a device whose DMA is off for one that is not started.
        self.nook.dma_enable()?;
        self.device.start();
        Ok(())
    }

    /// Resets the device: it touches no memory any more.
    fn turn_off(&mut self) -> Result<(), Status> {
        let silent = self.device.reset();
        self.nook.dma_disable()?;
        self.queue = None;
        silent
    }

    /// Tells the device what earlier calls have added.
    fn begin(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.begin(&self.device);
        }
    }

    /// Makes ready what this call has added. Returns whether there is something that the device does not know of.
    fn end(&mut self) -> bool {
        self.queue.as_mut().is_some_and(|queue| queue.end(&self.device))
    }

    /// Asks the device to fill this part of the buffer.
    fn ask(&mut self, from: u32, bytes: u32) -> Result<(), Status> {
        let Some(queue) = &mut self.queue else { return Err(Status::Busy) };
        queue.add(0, &[], &[self.buffer.bytes().part(from, bytes)?])
    }

    /// Looks how far the device is with what is wanted. Returns that, if there is more to come.
    ///
    /// # Panics
    /// If the device makes no sense any more: that ends the driver, and the next one resets it.
    fn go_on(&mut self, mut wanted: Sought) -> Option<Sought> {
        const STRAY: &str = "the device is done with what it was not given";
        let Some(used) = self.queue.as_mut().and_then(|queue| queue.take().expect(STRAY)) else { return Some(wanted) };
        let left = wanted.bytes - wanted.written;
        assert!((1..=left).contains(&used.written), "the device has written {} of {left} bytes", used.written);
        wanted.written += used.written;
        if wanted.written < wanted.bytes {
            // It may give fewer bytes than there is room for (5.4.6.1).
            self.ask(wanted.written, left - used.written).expect("a queue that is empty has room");
            return Some(wanted);
        }
        let mut bytes = [UNWRITTEN; MOST_BYTES as usize];
        let read = self.buffer.bytes().read_bytes(0, &mut bytes[..wanted.bytes as usize]);
        let outcome = match read {
            // What a device does that reaches no memory: it says that all went well.
            Ok(()) if bytes[..wanted.bytes as usize].iter().all(|&byte| byte == UNWRITTEN) => {
                error!(self.nook, "the device has written nothing: does it reach memory?");
                Err(Status::DeviceFailed)
            }
            Ok(()) => Ok(&bytes[..wanted.given as usize]),
            Err(status) => Err(status),
        };
        self.nook.complete(wanted.ticket, outcome);
        None
    }
}
