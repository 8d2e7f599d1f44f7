//! The four verbs: find the chip, set the line, move bytes in `poll`, and have the chip say when there are more.

use nook_sdk::serial::{control, received};
use nook_sdk::{
    Irq, Kernel, LineSettings, Nook, Parity, Poll, ProbeReason, Regs, SerialDriver, SerialPort, Status, error, info,
};
use serial_regs::*;

/// How long the chip may take until all that it holds is on the line: 16 bytes of 12 bits at 50 baud.
const DRAINED_NS: u64 = 4_000_000_000;
const LOOK_EVERY_NS: u64 = 200_000;
/// How far the rate may be from the one that is asked for, in parts of a thousand: two sides that are each off by so
/// much still read each other's last bit.
const MOST_OFF: u64 = 20;

/// A chip, and what is set in it.
pub struct Uart<K: Kernel> {
    nook: Nook<K>,
    regs: Regs<K>,
    /// The interrupts that are enabled.
    enabled: u8,
    /// Of the errors that reading `LSR` cleared, those that no byte was handed over with.
    errors: u8,
    /// The lines from the other side, as they were reported last.
    modem: u8,
}

impl<K: Kernel> SerialDriver<K> for Uart<K> {
    fn probe(nook: Nook<K>, reason: ProbeReason) -> Result<Self, Status> {
        let regs = nook.regs(0);
        // First: a driver before this one may have left the latch open, and then the divisor is where data and
        // interrupts are.
        regs.modify(LCR, |format| format & !(LCR::DIVISOR_LATCH | LCR::BREAK));
        regs.write(IER, 0);
        // What the FIFOs hold is the line's: only a cold start clears them.
        let clear = if reason == ProbeReason::Cold { fcr::CLEAR_RECEIVER | fcr::CLEAR_TRANSMITTER } else { 0 };
        regs.write(IIR_FCR, fcr::ENABLE | fcr::TRIGGER_8 | clear);
        for pattern in [0x55, 0xaa] {
            regs.write(SCR, pattern);
            if regs.read(SCR) != pattern || IIR_FCR::FIFOS.get(regs.read(IIR_FCR)) != 3 {
                error!(nook, "this is no 16550 with FIFOs");
                return Err(Status::NoDevice);
            }
        }
        info!(nook, "16550, {FIFO_BYTES} bytes each way");
        Ok(Uart { nook, regs, enabled: 0, errors: 0, modem: 0 })
    }

    fn port(&self) -> SerialPort {
        SerialPort { fifo_bytes: FIFO_BYTES, most_baud: BASE_BAUD }
    }

    fn remove(self) {
        self.regs.write(IER, 0);
        self.regs.write(MCR, 0);
    }

    fn open(&mut self) -> Result<(), Status> {
        self.nook.irq_enable(0)?;
        self.modem = self.regs.read(MSR) >> 4;
        self.nook.modem(self.modem.into());
        self.enable(IER::RECEIVED | IER::MODEM_STATUS);
        Ok(())
    }

    fn stop(&mut self) -> Result<(), Status> {
        self.enable(0);
        let drained = self.drain();
        self.nook.irq_disable(0)?;
        drained
    }

    fn set_line(&mut self, line: LineSettings) -> Result<(), Status> {
        let divisor = divisor(line.baud).ok_or(Status::Unsupported)?;
        let parity = match line.parity {
            Parity::None => 0,
            Parity::Odd => LCR::PARITY,
            Parity::Even => LCR::PARITY | LCR::EVEN,
            Parity::Mark => LCR::PARITY | LCR::STICK,
            Parity::Space => LCR::PARITY | LCR::STICK | LCR::EVEN,
        };
        let stop_bits = if line.stop_bits == 2 { LCR::STOP_BITS } else { 0 };
        let held = self.regs.read(LCR) & LCR::BREAK;
        // The other side may have the chip wait for ever: then what it holds leaves as the line is from now on.
        let _ = self.drain();
        let format = LCR::DATA_BITS.put(line.data_bits - 5) | stop_bits | parity | held;
        self.regs.write(LCR, format | LCR::DIVISOR_LATCH);
        let [low, high] = divisor.to_le_bytes();
        self.regs.write(RBR_THR, low);
        self.regs.write(IER, high);
        self.regs.write(LCR, format);
        Ok(())
    }

    fn set_control(&mut self, lines: u32) -> Result<(), Status> {
        let bit = |line: u32, bit: u8| if lines & line != 0 { bit } else { 0 };
        let towards = bit(control::DTR, MCR::DTR) | bit(control::RTS, MCR::RTS);
        self.regs.write(MCR, MCR::OUT2 | towards | bit(control::LOOPBACK, MCR::LOOPBACK));
        self.regs.modify(LCR, |format| format & !LCR::BREAK | bit(control::BREAK, LCR::BREAK));
        Ok(())
    }

    fn poll(&mut self, budget: u32, send: bool) -> Poll {
        let (status, again) = self.receive(budget);
        let modem = self.regs.read(MSR) >> 4;
        if modem != self.modem {
            self.modem = modem;
            self.nook.modem(modem.into());
        }
        // From here on there are only writes.
        if send && status & LSR::TRANSMITTER_EMPTY != 0 {
            for _ in 0..FIFO_BYTES {
                let Some(byte) = self.nook.next_byte() else { break };
                self.regs.write(RBR_THR, byte);
            }
        }
        let receive = if again { 0 } else { IER::RECEIVED };
        let send = if send { IER::TRANSMITTER_EMPTY } else { 0 };
        self.enable(IER::MODEM_STATUS | receive | send);
        if again { Poll::Again } else { Poll::Idle }
    }

    fn irq(&mut self, _: u32) -> Irq {
        let none = self.regs.read(IIR_FCR) & IIR_FCR::NONE != 0;
        // Reading it has cleared the transmitter's, of which a call that was rolled back may have been the one.
        if none && self.enabled & IER::TRANSMITTER_EMPTY == 0 {
            return Irq::NotMine;
        }
        self.enable(0);
        Irq::HandledPoll
    }
}

impl<K: Kernel> Uart<K> {
    /// Hands over what was received. Returns the last status, and whether there is more than the budget.
    fn receive(&mut self, budget: u32) -> (u8, bool) {
        let mut left = budget;
        loop {
            let status = self.regs.read(LSR);
            self.errors |= status & (LSR::OVERRUN | LSR::PARITY | LSR::FRAMING | LSR::BREAK);
            if status & LSR::DATA_READY == 0 {
                // A break whose byte never came is not the next one's.
                self.errors &= !(LSR::BREAK | LSR::FRAMING);
                return (status, false);
            }
            if left == 0 {
                return (status, true);
            }
            left -= 1;
            let byte = self.regs.read(RBR_THR);
            // A break is read as 0. What comes again after a rollback comes with the errors of all of it, and a byte
            // that came before the break is none.
            let later = if byte != 0 && self.errors & LSR::BREAK != 0 { LSR::BREAK | LSR::FRAMING } else { 0 };
            let errors = errors(self.errors & !later);
            self.errors &= later;
            self.nook.received(if errors & received::BREAK != 0 { 0 } else { byte }, errors);
        }
    }

    /// Enables these interrupts and no others. One whose cause is there comes at once.
    fn enable(&mut self, interrupts: u8) {
        if interrupts != self.enabled {
            self.regs.write(IER, interrupts);
            self.enabled = interrupts;
        }
    }

    /// Waits until all that the chip was given is on the line.
    fn drain(&mut self) -> Result<(), Status> {
        let Uart { nook, regs, errors, .. } = self;
        nook.poll_until(DRAINED_NS, LOOK_EVERY_NS, || {
            let status = regs.read(LSR);
            *errors |= status & (LSR::OVERRUN | LSR::PARITY | LSR::FRAMING | LSR::BREAK);
            status & LSR::IDLE != 0
        })
    }
}

/// Returns what is wrong with a byte, as the host has it.
fn errors(status: u8) -> u32 {
    let bit = |bit: u8, of: u32| if status & bit != 0 { of } else { 0 };
    bit(LSR::OVERRUN, received::OVERRUN)
        | bit(LSR::PARITY, received::PARITY)
        | bit(LSR::FRAMING, received::FRAMING)
        | bit(LSR::BREAK, received::BREAK)
}

/// Returns the divisor whose rate is near enough.
fn divisor(baud: u32) -> Option<u16> {
    let divisor = u16::try_from((BASE_BAUD + baud / 2).checked_div(baud)?).ok().filter(|&divisor| divisor > 0)?;
    let (wanted, rate) = (u64::from(baud) * u64::from(divisor), u64::from(BASE_BAUD));
    (wanted.abs_diff(rate) * 1000 <= wanted * MOST_OFF).then_some(divisor)
}
