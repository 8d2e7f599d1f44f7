//! A device that answers an e1000's doorbells at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use e1000_regs::{CTRL, EERD, ICR, MDIC, RDBAL, RDLEN, RDT, STATUS, TDBAL, TDLEN, TDT, eeprom, phy, rx, tx};
use nook_bus::{
    BarInfo, BarMemory, BarSpace, DeviceError, DmaWindow, IovaRange, IrqKind, MappedBar, PciDevice, PciIdentity,
    Result, Service, Width,
};

/// What each received frame is said to have.
const FRAME_BYTES: u16 = 60;

/// The device: registers as memory, and done bits.
pub struct ImmediateDevice {
    regs: Vec<u32>,
    /// The PHY's registers, as memory.
    phy: [u16; 32],
    window: Option<(DmaWindow, u64)>,
    /// Frames that it receives between two polls.
    receives: u32,
    rx_head: u32,
    tx_head: u32,
    /// Whether it interrupts before each poll.
    interrupts: bool,
}

impl ImmediateDevice {
    /// Returns a device that receives `receives` frames between two polls, and interrupts to say so.
    pub fn interrupting(receives: u32) -> Self {
        ImmediateDevice { interrupts: true, ..Self::new(receives) }
    }

    /// Creates a device that receives `receives` frames between two polls.
    pub fn new(receives: u32) -> Self {
        let mut phy = [0; 32];
        phy[phy::PHYID1 as usize] = 1;
        ImmediateDevice {
            phy,
            regs: vec![0; e1000_regs::BAR0_LEN_BYTES as usize / 4],
            window: None,
            receives,
            rx_head: 0,
            tx_head: 0,
            interrupts: false,
        }
    }

    fn reg(&self, offset: u32) -> u32 {
        self.regs[offset as usize / 4]
    }

    /// Word `word` of descriptor `index` of the ring at the address in the register at `base`.
    fn word(&self, base: u32, index: u32, word: usize) -> Option<&AtomicU32> {
        let (window, iova) = self.window.as_ref()?;
        let offset = (u64::from(self.reg(base)).checked_sub(*iova)?) as usize + index as usize * 16 + word * 4;
        let slice = window.slice().subslice(offset, 4).ok()?;
        let pointer = slice.ptr_guard_mut().as_ptr().cast::<u32>();
        // SAFETY: four aligned bytes of the window, which lives as long as `self`; driver and device use them
        // atomically only once the descriptor is the device's.
        Some(unsafe { AtomicU32::from_ptr(pointer) })
    }

    /// Returns how many descriptors (a power of two) the ring has whose length is in the register at `length`.
    fn ring(&self, length: u32) -> u32 {
        (self.reg(length) / tx::DESCRIPTOR_BYTES).max(1)
    }

    fn transmit(&mut self) {
        let ring = self.ring(TDLEN.offset());
        let tail = self.reg(TDT.offset()) & (ring - 1);
        while self.tx_head != tail {
            if let Some(status) = self.word(TDBAL.offset(), self.tx_head, tx::STATUS_WORD) {
                status.store(tx::status::DD, Ordering::Release);
            }
            self.tx_head = (self.tx_head + 1) & (ring - 1);
        }
    }

    fn receive(&mut self) {
        let ring = self.ring(RDLEN.offset());
        let tail = self.reg(RDT.offset()) & (ring - 1);
        for _ in 0..self.receives {
            if self.rx_head == tail {
                return;
            }
            if let Some(length) = self.word(RDBAL.offset(), self.rx_head, rx::LENGTH_WORD) {
                length.store(rx::written_length(FRAME_BYTES, 0), Ordering::Relaxed);
            }
            if let Some(status) = self.word(RDBAL.offset(), self.rx_head, rx::STATUS_WORD) {
                status.store(rx::status::DD | rx::status::EOP, Ordering::Release);
            }
            self.rx_head = (self.rx_head + 1) & (ring - 1);
        }
    }
}

impl PciDevice for ImmediateDevice {
    fn describe(&self) -> String {
        "a device that costs next to nothing".into()
    }

    fn identity(&self) -> PciIdentity {
        PciIdentity::new(e1000_regs::VENDOR, e1000_regs::DEVICE_82540EM, e1000_regs::CLASS)
    }

    fn bars(&self) -> &[BarInfo] {
        const BARS: [BarInfo; 1] =
            [BarInfo { index: 0, space: BarSpace::Memory, len_bytes: e1000_regs::BAR0_LEN_BYTES as u64 }];
        &BARS
    }

    #[inline]
    fn bar_read(&mut self, _: u8, offset: u32, _: Width) -> Result<u64> {
        Ok(self.reg(offset).into())
    }

    #[inline]
    fn bar_write(&mut self, _: u8, offset: u32, _: Width, value: u64) -> Result<()> {
        let value = value as u32;
        self.regs[offset as usize / 4] = value;
        const CTRL_AT: u32 = CTRL.offset();
        const EERD_AT: u32 = EERD.offset();
        const MDIC_AT: u32 = MDIC.offset();
        const TDT_AT: u32 = TDT.offset();
        match offset {
            TDT_AT => self.transmit(),
            CTRL_AT => {
                self.regs[offset as usize / 4] = value & !CTRL::RST;
                self.regs[STATUS.offset() as usize / 4] = STATUS::LU | STATUS::FD | STATUS::SPEED.put(2);
                (self.rx_head, self.tx_head) = (0, 0);
            }
            EERD_AT => {
                // An address in words 0 to 2, and a checksum that fits.
                let word = match EERD::ADDR.get(value) {
                    0 => 0x5452,
                    eeprom::CHECKSUM => eeprom::SUM.wrapping_sub(0x5452),
                    _ => 0,
                };
                self.regs[offset as usize / 4] = EERD::DONE | EERD::DATA.put(word.into());
            }
            MDIC_AT => {
                let register = &mut self.phy[MDIC::REGADD.get(value) as usize];
                if MDIC::OP.get(value) == e1000_regs::MDIC_OP_WRITE {
                    *register = MDIC::DATA.get(value) as u16 & !phy::bmcr::RESET;
                }
                self.regs[offset as usize / 4] = MDIC::R | MDIC::DATA.put((*register).into());
            }
            _ => {}
        }
        Ok(())
    }

    /// As memory they are only memory: what is written to a doorbell is not seen.
    fn bar_map(&mut self, _: u8, reserve_bytes: usize) -> Result<Arc<dyn BarMemory>> {
        let failed = |error| DeviceError::os("memory for the registers", error);
        let len_bytes = e1000_regs::BAR0_LEN_BYTES;
        // A window is nothing but a file of memory, and the mapping keeps that.
        let memory = DmaWindow::new(len_bytes.into()).map_err(failed)?;
        Ok(Arc::new(MappedBar::new(memory.fd(), 0, len_bytes as usize, reserve_bytes).map_err(failed)?))
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        vec![IovaRange { first: 0, last: 0xffff_ffff }]
    }

    fn dma_map(&mut self, window: &DmaWindow, iova: u64) -> Result<()> {
        self.window = Some((window.clone(), iova));
        Ok(())
    }

    fn dma_unmap(&mut self, _: u64) -> Result<()> {
        self.window = None;
        Ok(())
    }

    fn irq_enable(&mut self, _: u32) -> Result<(IrqKind, u32)> {
        Ok((IrqKind::Intx, 1))
    }

    #[inline]
    fn service(&mut self, _: u64) -> Result<Service> {
        self.receive();
        self.regs[ICR.offset() as usize / 4] = ICR::RXT0;
        Ok(Service { irqs: self.interrupts.into(), due_ns: None })
    }
}
