//! As much of a driver for 82540EM, 82545EM and 82574L as the checks need: one transmit and one receive ring of
//! eight legacy descriptors at the start of a window, and the PHY's loopback.

use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e1000_regs::{self as regs, CTRL, ICR, MDIC, RCTL, STATUS, TCTL, tx};
use nook_bus::{DmaWindow, PciDevice, Width};
use nook_regs::Register;
use pci_passthrough::VfioDevice;

/// PCI device id of the 82574L (Intel 82574 datasheet, 9.1).
pub const DEVICE_82574L: u16 = 0x10d3;

/// BMCR: loopback, 1000 Mbit/s, full duplex (IEEE 802.3, 22.2.4.1).
const BMCR_LOOPBACK: u32 = 1 << 14 | 1 << 8 | 1 << 6;
/// Where things are in the window.
const RX_RING: u64 = 0x1000;
const TX_FRAME: u64 = 0x1_0000;
const RX_BUFFERS: u64 = 0x2_0000;
const RING: u32 = 8;
const BUFFER_BYTES: u64 = 2048;
/// How long anything may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Card {
    pub device: VfioDevice,
    pub window: DmaWindow,
    pub iova: u64,
    next: u32,
    received: u32,
}

impl Card {
    pub fn new(device: VfioDevice, window: DmaWindow, iova: u64) -> Self {
        Card { device, window, iova, next: 0, received: 0 }
    }

    pub fn is_express(&self) -> bool {
        self.device.identity().device == DEVICE_82574L
    }

    pub fn read(&mut self, register: Register<u32>) -> Result<u32> {
        Ok(self.device.bar_read(0, register.offset(), Width::B4)? as u32)
    }

    pub fn write(&mut self, register: Register<u32>, value: u32) -> Result<()> {
        Ok(self.device.bar_write(0, register.offset(), Width::B4, value.into())?)
    }

    /// Resets the chip by its own register, and puts the link up.
    pub fn reset_chip(&mut self) -> Result<()> {
        self.write(regs::IMC, u32::MAX)?;
        let ctrl = self.read(regs::CTRL)?;
        self.write(regs::CTRL, ctrl | CTRL::RST)?;
        std::thread::sleep(Duration::from_millis(20));
        self.write(regs::IMC, u32::MAX)?;
        self.read(regs::ICR)?;
        let ctrl = self.read(regs::CTRL)?;
        self.write(regs::CTRL, (ctrl | CTRL::SLU) & !CTRL::PHY_RST)?;
        wait("the link", || Ok(self.read(regs::STATUS)? & STATUS::LU != 0))
    }

    /// Turns the PHY's loopback on or off.
    pub fn loopback(&mut self, on: bool) -> Result<()> {
        let value = if on { BMCR_LOOPBACK } else { 1 << 12 | 1 << 8 | 1 << 6 };
        let command = MDIC::DATA.put(value)
            | MDIC::REGADD.put(regs::phy::BMCR)
            | MDIC::PHYADD.put(regs::MDIC_PHY)
            | MDIC::OP.put(regs::MDIC_OP_WRITE);
        self.write(regs::MDIC, command)?;
        wait("the PHY", || Ok(self.read(regs::MDIC)? & MDIC::R != 0))
    }

    /// Starts both rings, promiscuous.
    pub fn start_rings(&mut self) -> Result<()> {
        (self.next, self.received) = (0, 0);
        let slice = self.window.slice();
        for index in 0..u64::from(RING) {
            let descriptor = regs::rx::fresh(self.iova + RX_BUFFERS + index * BUFFER_BYTES);
            self.put_descriptor(RX_RING + index * 16, descriptor)?;
        }
        slice.subslice(0, RING as usize * 16)?.copy_from(&[0u8; RING as usize * 16]);
        let (tx, rx) = (self.iova, self.iova + RX_RING);
        for (register, value) in [
            (regs::TDBAL, tx as u32),
            (regs::TDBAH, (tx >> 32) as u32),
            (regs::TDLEN, RING * 16),
            (regs::TDH, 0),
            (regs::TDT, 0),
            (regs::RDBAL, rx as u32),
            (regs::RDBAH, (rx >> 32) as u32),
            (regs::RDLEN, RING * 16),
            (regs::RDH, 0),
            (regs::RDT, RING - 1),
            (regs::TCTL, TCTL::EN | TCTL::PSP | TCTL::CT.put(0xf) | TCTL::COLD.put(0x40)),
            (regs::RCTL, RCTL::EN | RCTL::UPE | RCTL::MPE | RCTL::BAM | RCTL::SECRC),
        ] {
            self.write(register, value)?;
        }
        Ok(())
    }

    fn put_descriptor(&self, at: u64, words: [u32; 4]) -> Result<()> {
        let descriptor = self.window.slice().subslice(at as usize, 16)?;
        descriptor.copy_from(&words);
        Ok(())
    }

    fn word(&self, at: u64) -> Result<u32> {
        let mut word = [0u32];
        self.window.slice().subslice(at as usize, 4)?.copy_to(&mut word);
        Ok(word[0])
    }

    /// Hands the card one descriptor that points to `address`, and waits until it is done with it.
    pub fn transmit_from(&mut self, address: u64, len: u16) -> Result<()> {
        let at = u64::from(self.next) * 16;
        let command = tx::command::EOP | tx::command::IFCS | tx::command::RS;
        self.put_descriptor(at, tx::legacy(address, len, command))?;
        self.next = (self.next + 1) % RING;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.write(regs::TDT, self.next)?;
        wait("a transmit descriptor to be done", || {
            Ok(self.word(at + 4 * tx::STATUS_WORD as u64)? & tx::status::DD != 0)
        })
    }

    /// Sends one frame of 60 bytes to everybody, filled with `fill`.
    pub fn send(&mut self, fill: u8) -> Result<()> {
        let mut frame = [fill; 60];
        frame[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, fill, 0x88, 0xb5]);
        self.window.slice().subslice(TX_FRAME as usize, 60)?.copy_from(&frame);
        self.transmit_from(self.iova + TX_FRAME, 60)
    }

    /// Takes the next frame that came in, if there is one.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        let at = RX_RING + u64::from(self.received) * 16;
        if self.word(at + 4 * regs::rx::STATUS_WORD as u64)? & regs::rx::status::DD == 0 {
            return Ok(None);
        }
        let len = regs::rx::length_bytes(self.word(at + 4 * regs::rx::LENGTH_WORD as u64)?) as usize;
        ensure!(len <= BUFFER_BYTES as usize, "a frame of {len} bytes");
        let mut frame = vec![0u8; len];
        let buffer = u64::from(self.received) * BUFFER_BYTES;
        self.window.slice().subslice((RX_BUFFERS + buffer) as usize, len)?.copy_to(&mut frame);
        self.put_descriptor(at, regs::rx::fresh(self.iova + RX_BUFFERS + buffer))?;
        self.write(regs::RDT, self.received)?;
        self.received = (self.received + 1) % RING;
        Ok(Some(frame))
    }

    /// Sends through the loopback until a frame comes back, and checks it. (Some models receive nothing for a second
    /// after the receiver was set up.)
    pub fn send_to_itself(&mut self, fill: u8) -> Result<()> {
        wait("a frame through the loopback", || {
            self.send(fill)?;
            std::thread::sleep(Duration::from_millis(50));
            let Some(frame) = self.receive()? else { return Ok(false) };
            ensure!(frame.len() == 60 && frame[14..].iter().all(|byte| *byte == fill), "it came back as {frame:x?}");
            while self.receive()?.is_some() {}
            Ok(true)
        })
    }

    /// Lets the causes in `mask` interrupt.
    pub fn unmask_causes(&mut self, mask: u32) -> Result<()> {
        self.write(regs::ITR, 0)?;
        self.read(regs::ICR)?;
        self.write(regs::IMS, mask)
    }

    /// Raises a cause by software.
    pub fn raise(&mut self, cause: u32) -> Result<()> {
        self.write(regs::ICS, cause)
    }

    /// Raises a cause `rounds` times; each must interrupt once, and not again before the line is opened.
    pub fn interrupt_rounds(&mut self, rounds: u32) -> Result<()> {
        self.unmask_causes(ICR::LSC)?;
        for round in 0..rounds {
            self.raise(ICR::LSC)?;
            let irqs = self.wait_for_irq().with_context(|| format!("round {round}"))?;
            ensure!(irqs == 1, "round {round}: vectors {irqs:#x}");
            ensure!(self.read(regs::ICR)? & ICR::LSC != 0, "round {round}: no cause");
            self.device.irq_unmask(0)?;
        }
        ensure!(self.irqs_now()? == 0, "an interrupt after the last one");
        self.write(regs::IMC, u32::MAX)
    }

    pub fn irqs_now(&mut self) -> Result<u32> {
        Ok(self.device.service(now_ns())?.irqs)
    }

    /// Waits on the device's descriptors until an interrupt comes.
    pub fn wait_for_irq(&mut self) -> Result<u32> {
        let mut fds = Vec::new();
        self.device.event_fds(&mut fds);
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            readable(&fds, Duration::from_secs(1));
            let irqs = self.irqs_now()?;
            if irqs != 0 {
                return Ok(irqs);
            }
        }
        bail!("no interrupt came")
    }

    /// Serves the device until it stops answering.
    pub fn serve_while(&mut self, mut step: impl FnMut(&mut Self) -> Result<ControlFlow<()>>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if step(self)?.is_break() {
                return Ok(());
            }
        }
        bail!("it still answers")
    }
}

fn readable(fds: &[RawFd], timeout: Duration) {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // SAFETY: a valid array and its length; what it found is asked for elsewhere.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout.as_millis() as i32) };
}

/// Returns CLOCK_MONOTONIC, in nanoseconds.
pub fn now_ns() -> u64 {
    nook_bus::Clock::Monotonic.now_ns()
}

/// Waits until `done`.
pub fn wait(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !done()? {
        if Instant::now() > until {
            bail!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
