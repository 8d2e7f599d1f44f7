//! DMA that one register starts with what stands in others: what is known of these, and whether it may be started.
//!
//! What a device makes of its registers while it works is its affair: QEMU's `edu` drops what is written then. So
//! nothing of a transfer may be written until the driver has read that none is under way, and what was written since
//! the last one is what the device has: many count their addresses up while they work, so that a second start would go
//! on behind the first.

use nook_bus::{IovaRange, RegisterAddr};
use nook_regs::{Direction, Place, Region, RegisterMap, Transfer};

use super::{READ, WRITE};

/// A register that starts transfers, and what is known of those that it names.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    start: RegisterAddr,
    transfer: Transfer,
    /// The driver has read that none is under way, and has started none since.
    is_idle: bool,
    named: Vec<Named>,
}

/// A register that a transfer names.
#[derive(Clone, Debug)]
struct Named {
    name: &'static str,
    place: RegisterAddr,
    /// What was last written, if it is known.
    value: Option<u64>,
}

impl Watched {
    /// Returns all of a map.
    pub(super) fn all_of(map: &'static RegisterMap) -> Vec<Self> {
        let of = |(start, transfer): (RegisterAddr, Transfer)| {
            let mut named: Vec<Named> = Vec::new();
            for name in transfer.registers() {
                let found = RegisterAddr::all_of(map).find(|(_, info)| info.name == name);
                if let Some((place, _)) = found.filter(|_| named.iter().all(|named| named.name != name)) {
                    named.push(Named { name, place, value: None });
                }
            }
            Watched { start, transfer, is_idle: false, named }
        };
        RegisterAddr::all_of(map).filter_map(|(place, info)| Some((place, info.transfer?))).map(of).collect()
    }

    /// Returns which accesses to `place` it must see: bits of a rule.
    pub(super) fn asks(&self, place: RegisterAddr) -> u8 {
        match place {
            _ if place == self.start => READ | WRITE,
            _ if self.named.iter().any(|named| named.place == place) => WRITE,
            _ => 0,
        }
    }

    /// Begins again: nothing is known of the device.
    pub(super) fn forget(&mut self) {
        self.is_idle = false;
        self.named.iter_mut().for_each(|named| named.value = None);
    }

    /// Takes note of what was read.
    pub(super) fn saw(&mut self, place: RegisterAddr, value: u64) {
        if place == self.start {
            self.is_idle = value & self.transfer.start == 0;
        }
    }

    /// Returns whether what is to be written starts a transfer, if it is permitted.
    pub(super) fn starts(&self, place: RegisterAddr, value: u64) -> bool {
        place == self.start && value & self.transfer.start != 0
    }

    /// Looks at what is to be written, and takes note of it; or refuses it with a rule.
    pub(super) fn look(
        &mut self,
        place: RegisterAddr,
        value: u64,
        window: Option<IovaRange>,
    ) -> Result<(), &'static str> {
        let named = self.named.iter_mut().find(|named| named.place == place);
        if place != self.start && named.is_none() {
            return Ok(());
        }
        if !self.is_idle {
            return Err("a transfer may be under way: the register that starts it must be read as idle first");
        }
        if let Some(named) = named {
            named.value = Some(value);
        } else if value & self.transfer.start != 0 {
            let direction = self.transfer.direction(value).ok_or("the register map has no such transfer")?;
            self.check(direction, window)?;
            self.forget();
        }
        Ok(())
    }

    fn check(&self, direction: &Direction, window: Option<IovaRange>) -> Result<(), &'static str> {
        let written = |name| {
            let value = self.named.iter().find(|named| named.name == name).and_then(|named| named.value);
            value.ok_or("a transfer is started before all that it goes by was written")
        };
        let length = written(self.transfer.length)?;
        let before_last = length.checked_sub(1).ok_or("a transfer of 0 bytes")?;
        for &Place { register, region } in direction.places {
            let first = written(register)?;
            let last = first.checked_add(before_last);
            let lies_in = |from: u64, to: u64| from <= first && last.is_some_and(|last| last <= to);
            match region {
                Region::Device { first, last } if lies_in(first, last) => {}
                Region::Device { .. } => return Err("a transfer would leave the memory that the device has for it"),
                Region::Window if !window.is_some_and(|IovaRange { first, last }| lies_in(first, last)) => {
                    return Err("a transfer would leave the driver's window");
                }
                // Their sum did not wrap.
                Region::Window if (first + before_last).checked_shr(self.transfer.address_bits).unwrap_or(0) != 0 => {
                    return Err("a transfer would use an address with more bits than the device has");
                }
                Region::Window => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nook_bus::IovaRange;
    use nook_regs::{Bits, Direction, Place, Transfer, Width};

    use crate::policy::{Reading, Refusal, RegisterPolicy};

    const START: u64 = 1;
    const TO_MEMORY: u64 = 2;
    const ALSO_A_FLAG: u64 = 4;
    const NO_DIRECTION: u64 = 8;
    const RESET: u64 = 0x8000;
    const WINDOW: IovaRange = IovaRange { first: 0x10_0000, last: 0x1f_ffff };

    static MOVES: Transfer = Transfer {
        start: START,
        length: "LENGTH",
        address_bits: 24,
        directions: &[
            Direction {
                now: Bits::new(TO_MEMORY | NO_DIRECTION, &[0]),
                places: &[Place::window("FROM"), Place::device("TO", 0x40, 0x7f)],
            },
            Direction {
                now: Bits::new(TO_MEMORY | NO_DIRECTION, &[TO_MEMORY]),
                places: &[Place::device("FROM", 0x40, 0x7f), Place::window("TO")],
            },
        ],
    };

    nook_regs::registers! {
        /// A device with DMA, and a register of which it says nothing.
        static MAP = "sample", bar 0, 0x40 bytes;
        FROM: u64 at 0x00, Rw, "1";
        TO: u64 at 0x08, Wo, "1";
        LENGTH: u16 at 0x10, Rw, "1";
        COMMAND: u32 at 0x14, Rw, "1", transfer(MOVES);
        OTHER: u32 at 0x18, Rw, "1";
        CONTROL: u32 at 0x1c, Wo, "1", write(Reset(RESET));
    }

    struct Rig {
        policy: RegisterPolicy,
        window: Option<IovaRange>,
    }

    impl Rig {
        /// A device that was seen idle.
        fn idle() -> Self {
            let mut rig = Rig { policy: RegisterPolicy::from_map(&MAP), window: Some(WINDOW) };
            rig.read(0);
            rig
        }

        fn write(&mut self, offset: u32, width: Width, value: u64) -> Result<(), &'static str> {
            match self.policy.check_write(0, offset, width) {
                Ok(()) => Ok(()),
                Err(Refusal::Value) => self.policy.look(0, offset, width, value, self.window),
                Err(Refusal::Rule(rule)) => Err(rule),
            }
        }

        /// The driver reads this.
        fn read(&mut self, value: u64) {
            assert_eq!(self.policy.check_read(0, COMMAND.offset(), Width::B4), Ok(Reading::Seen));
            self.policy.saw(0, COMMAND.offset(), Width::B4, value);
        }

        fn prepare(&mut self, from: u64, to: u64, length: u64) -> Result<(), &'static str> {
            self.write(FROM.offset(), Width::B8, from)?;
            self.write(TO.offset(), Width::B8, to)?;
            self.write(LENGTH.offset(), Width::B2, length)
        }

        fn command(&mut self, value: u64) -> Result<(), &'static str> {
            self.write(COMMAND.offset(), Width::B4, value)
        }

        fn moves(&mut self, from: u64, to: u64, length: u64, command: u64) -> Result<(), &'static str> {
            self.prepare(from, to, length)?;
            self.command(command)
        }
    }

    const BUSY: &str = "a transfer may be under way: the register that starts it must be read as idle first";
    const EARLY: &str = "a transfer is started before all that it goes by was written";

    #[test]
    fn both_ends_lie_where_they_may_whichever_of_them_is_in_memory() {
        const OUTSIDE: Result<(), &str> = Err("a transfer would leave the driver's window");
        const ELSEWHERE: Result<(), &str> = Err("a transfer would leave the memory that the device has for it");
        for (memory, device, length, answer) in [
            (0x10_0000, 0x40, 1, Ok(())),
            (0x10_0000, 0x40, 0x40, Ok(())),
            (0x1f_ffff, 0x7f, 1, Ok(())),
            (0x1f_fff0, 0x40, 0x10, Ok(())),
            (0x1f_fff0, 0x40, 0x11, OUTSIDE),
            (0x0f_ffff, 0x40, 2, OUTSIDE),
            (0x20_0000, 0x40, 1, OUTSIDE),
            (0, 0x40, 1, OUTSIDE),
            (u64::MAX, 0x40, 2, OUTSIDE),
            (u64::MAX - 0x1f, 0x40, 0x21, OUTSIDE),
            (0x10_0000, 0x40, 0x41, ELSEWHERE),
            (0x10_0000, 0x7f, 2, ELSEWHERE),
            (0x10_0000, 0x3f, 1, ELSEWHERE),
            (0x10_0000, 0x80, 1, ELSEWHERE),
            (0x10_0000, u64::MAX, 2, ELSEWHERE),
            (0x10_0000, 0x40, 0, Err("a transfer of 0 bytes")),
        ] {
            let case = format!("{length:#x} bytes at {memory:#x}, {device:#x}");
            assert_eq!(Rig::idle().moves(memory, device, length, START), answer, "{case}");
            assert_eq!(Rig::idle().moves(device, memory, length, START | TO_MEMORY | ALSO_A_FLAG), answer, "{case}");
            // The other way round, each is where the other should be.
            assert!(Rig::idle().moves(device, memory, length, START).is_err(), "{case}");
            let mut unmapped = Rig { window: None, ..Rig::idle() };
            assert!(unmapped.moves(memory, device, length, START).is_err(), "{case}");
        }
    }

    #[test]
    fn an_address_that_the_device_would_cut_off_is_refused() {
        let window = Some(IovaRange { first: 0xff_ff00, last: 0x1ff_ffff });
        let moves = |from, length| Rig { window, ..Rig::idle() }.moves(from, 0x40, length, START);
        assert_eq!(moves(0xff_fff0, 0x10), Ok(()));
        let cut = Err("a transfer would use an address with more bits than the device has");
        assert_eq!((moves(0xff_fff0, 0x11), moves(0x100_0000, 1)), (cut, cut));
    }

    #[test]
    fn nothing_is_written_while_a_transfer_may_be_under_way() {
        let mut rig = Rig { policy: RegisterPolicy::from_map(&MAP), window: Some(WINDOW) };
        assert_eq!((rig.write(LENGTH.offset(), Width::B2, 1), rig.command(START)), (Err(BUSY), Err(BUSY)), "unknown");
        rig.read(START);
        assert_eq!(rig.command(0), Err(BUSY));
        rig.read(u64::from(u32::MAX));
        assert_eq!(rig.command(0), Err(BUSY), "it is gone");
        rig.read(TO_MEMORY);
        assert_eq!(rig.moves(0x10_0000, 0x40, 4, START), Ok(()));
        for (offset, width) in [(FROM.offset(), Width::B8), (TO.offset(), Width::B8), (LENGTH.offset(), Width::B2)] {
            assert_eq!(rig.write(offset, width, 4), Err(BUSY));
        }
        assert_eq!((rig.command(START), rig.command(0)), (Err(BUSY), Err(BUSY)));
        assert_eq!(rig.write(OTHER.offset(), Width::B4, 7), Ok(()), "it has no part in it");
        rig.read(START);
        assert_eq!(rig.command(START), Err(BUSY));
        rig.read(0);
        assert_eq!(rig.command(START), Err(EARLY), "the device may have counted its addresses up");
        assert_eq!(rig.moves(0x10_0000, 0x40, 4, START), Ok(()), "the same once more");
    }

    #[test]
    fn after_a_reset_nothing_is_known_though_the_map_has_no_guard() {
        let mut rig = Rig::idle();
        assert_eq!(rig.prepare(0x10_0000, 0x40, 4), Ok(()));
        assert_eq!(rig.write(CONTROL.offset(), Width::B4, RESET >> 1), Ok(()), "no reset");
        assert_eq!(rig.write(CONTROL.offset(), Width::B4, RESET), Ok(()));
        assert_eq!(rig.command(START), Err(BUSY));
        rig.read(0);
        assert_eq!(rig.command(START), Err(EARLY));
    }

    #[test]
    fn what_was_changed_after_it_was_good_is_looked_at_again() {
        let mut rig = Rig::idle();
        assert_eq!(rig.prepare(0x10_0000, 0x40, 4), Ok(()));
        // Good for one direction, and started in the other.
        assert_eq!(rig.command(START | TO_MEMORY), Err("a transfer would leave the memory that the device has for it"));
        assert_eq!(rig.write(LENGTH.offset(), Width::B2, 0x41), Ok(()));
        assert_eq!(rig.command(START), Err("a transfer would leave the memory that the device has for it"));
        assert_eq!(rig.write(LENGTH.offset(), Width::B2, 4), Ok(()));
        rig.window = Some(IovaRange { first: 0x20_0000, last: 0x2f_ffff });
        assert_eq!(rig.command(START), Err("a transfer would leave the driver's window"));
    }

    #[test]
    fn what_is_not_known_is_not_started() {
        let mut rig = Rig::idle();
        assert_eq!(rig.command(START), Err(EARLY));
        assert_eq!(rig.write(LENGTH.offset(), Width::B2, 4), Ok(()));
        assert_eq!(rig.write(FROM.offset(), Width::B8, 0x10_0000), Ok(()));
        assert_eq!(rig.command(START), Err(EARLY));
        assert_eq!(rig.command(TO_MEMORY), Ok(()), "that starts nothing");
        assert_eq!(rig.write(TO.offset(), Width::B8, 0x40), Ok(()));
        assert_eq!(rig.command(START | NO_DIRECTION), Err("the register map has no such transfer"));
        // What was written did not reach the device, or was another driver's.
        rig.policy.forget();
        assert_eq!(rig.command(START), Err(BUSY));
        rig.read(0);
        assert_eq!(rig.command(START), Err(EARLY));
    }
}
