//! What a trace holds, and how it is written down.

use nook_abi::{ENTRIES, Entry, Hostcall};
use nook_bus::{BusAccess, ResetKind, Width};

use crate::frames::numbers::{arguments, byte, hostcall, number, put, put_bytes, put_call, put_hostcall, text};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver was called.
    Entered { entry: Entry, args: [u64; 3] },
    /// That call came back, with what it returned, or why it was ended.
    Left(Result<u64, String>),
    /// The driver called the host, with what it got, or why it was refused.
    Called { call: Hostcall, args: [u64; 3], outcome: Result<u64, String> },
    /// Something crossed the bus.
    Bus(BusAccess),
    /// An instance began.
    Begun,
    /// It ended.
    Ended,
    /// A call was undone, because of this.
    RolledBack { entry: Entry, why: String },
    /// The instance goes on from a snapshot.
    Restored,
}

const ENTERED: u8 = 1;
const LEFT: u8 = 2;
const LEFT_BY_FAULT: u8 = 3;
const CALLED: u8 = 4;
const REFUSED: u8 = 5;
const READ: u8 = 6;
const WRITE: u8 = 7;
const IRQ: u8 = 8;
const RESET: u8 = 9;
const BUS_MASTER: u8 = 10;
const MAP: u8 = 11;
const UNMAP: u8 = 12;
const BEGUN: u8 = 13;
const ENDED: u8 = 14;
const ROLLED_BACK: u8 = 15;
const RESTORED: u8 = 16;

/// The ways to reset a device, by their number in the file.
const RESETS: [ResetKind; 2] = [ResetKind::Function, ResetKind::None];

impl Event {
    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut kind = |kind: u8, value: Option<u64>| {
            out.push(kind);
            value.into_iter().for_each(|value| put(out, value));
        };
        match self {
            Event::Begun => kind(BEGUN, None),
            Event::Ended => kind(ENDED, None),
            Event::Restored => kind(RESTORED, None),
            Event::Left(Ok(result)) => kind(LEFT, Some(*result)),
            Event::Bus(BusAccess::Irq(vectors)) => kind(IRQ, Some((*vectors).into())),
            Event::Bus(BusAccess::BusMaster(on)) => kind(BUS_MASTER, Some((*on).into())),
            Event::Bus(BusAccess::Map(iova)) => kind(MAP, Some(*iova)),
            Event::Bus(BusAccess::Unmap(iova)) => kind(UNMAP, Some(*iova)),
            Event::Bus(BusAccess::Reset(how)) => {
                kind(RESET, RESETS.iter().position(|known| known == how).map(|at| at as u64));
            }
            Event::Bus(BusAccess::Read { bar, offset, width, value }) => {
                put_call(out, READ, *bar, &[(*offset).into(), width.bytes().into(), *value]);
            }
            Event::Bus(BusAccess::Write { bar, offset, width, value }) => {
                put_call(out, WRITE, *bar, &[(*offset).into(), width.bytes().into(), *value]);
            }
            Event::Entered { entry, args } => {
                put_call(out, ENTERED, *entry as u8, &args[..entry.info().args.len()]);
            }
            Event::Called { call, args, outcome } => put_hostcall(out, [CALLED, REFUSED], *call, args, outcome),
            Event::Left(Err(why)) => {
                out.push(LEFT_BY_FAULT);
                put_bytes(out, why.as_bytes());
            }
            Event::RolledBack { entry, why } => {
                out.extend([ROLLED_BACK, *entry as u8]);
                put_bytes(out, why.as_bytes());
            }
        }
    }

    /// Takes one from the front of `bytes`; nothing, if what stands there is none.
    pub fn read(bytes: &mut &[u8]) -> Option<Self> {
        let kind = byte(bytes)?;
        Some(match kind {
            BEGUN => Event::Begun,
            ENDED => Event::Ended,
            RESTORED => Event::Restored,
            LEFT => Event::Left(Ok(number(bytes)?)),
            LEFT_BY_FAULT => Event::Left(Err(text(bytes)?)),
            IRQ => Event::Bus(BusAccess::Irq(u32::try_from(number(bytes)?).ok()?)),
            BUS_MASTER => Event::Bus(BusAccess::BusMaster(number(bytes)? != 0)),
            MAP => Event::Bus(BusAccess::Map(number(bytes)?)),
            UNMAP => Event::Bus(BusAccess::Unmap(number(bytes)?)),
            RESET => Event::Bus(BusAccess::Reset(*RESETS.get(usize::try_from(number(bytes)?).ok()?)?)),
            READ | WRITE => {
                let bar = byte(bytes)?;
                let offset = u32::try_from(number(bytes)?).ok()?;
                let width = match number(bytes)? {
                    1 => Width::B1,
                    2 => Width::B2,
                    4 => Width::B4,
                    8 => Width::B8,
                    _ => return None,
                };
                let value = number(bytes)?;
                Event::Bus(match kind {
                    READ => BusAccess::Read { bar, offset, width, value },
                    _ => BusAccess::Write { bar, offset, width, value },
                })
            }
            ENTERED => {
                let row = ENTRIES.get(usize::from(byte(bytes)?))?;
                Event::Entered { entry: row.entry, args: arguments(bytes, row.args.len())? }
            }
            CALLED | REFUSED => {
                let (call, args, outcome) = hostcall(bytes, kind == REFUSED)?;
                Event::Called { call, args, outcome }
            }
            ROLLED_BACK => {
                let entry = ENTRIES.get(usize::from(byte(bytes)?))?.entry;
                Event::RolledBack { entry, why: text(bytes)? }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    fn all() -> Vec<Event> {
        let why = || "no".to_owned();
        let (bar, offset, width, value) = (0, 0x3818, Width::B4, 7);
        let args = [3, 0x80, u64::MAX];
        let mut all = vec![
            Event::Begun,
            Event::Ended,
            Event::Restored,
            Event::Entered { entry: Entry::Poll, args },
            Event::Left(Ok(-5i64 as u64)),
            Event::Left(Err(why())),
            Event::Called { call: Hostcall::MmioWrite32, args, outcome: Ok(0) },
            Event::Called { call: Hostcall::ClockNs, args: [0; 3], outcome: Err(why()) },
            Event::Bus(BusAccess::Read { bar, offset, width, value }),
            Event::Bus(BusAccess::Write { bar, offset, width, value }),
            Event::Bus(BusAccess::Irq(5)),
            Event::Bus(BusAccess::BusMaster(true)),
            Event::Bus(BusAccess::Map(1 << 40)),
            Event::Bus(BusAccess::Unmap(0)),
            Event::RolledBack { entry: Entry::Irq, why: why() },
        ];
        all.extend(RESETS.map(|kind| Event::Bus(BusAccess::Reset(kind))));
        all
    }

    #[test]
    fn what_was_written_is_read_again() {
        for event in all() {
            let mut bytes = Vec::new();
            event.write(&mut bytes);
            let mut rest = &bytes[..];
            assert_eq!(Event::read(&mut rest), Some(event));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_is_no_event() {
        for event in all() {
            let mut bytes = Vec::new();
            event.write(&mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(Event::read(&mut &bytes[..len]), None, "{event:?} cut off at {len}");
            }
        }
        assert_eq!(Event::read(&mut &[99u8, 0, 0][..]), None);
        assert_eq!(number(&mut &[0xff; 9][..]), None);
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(number(&mut &too_large[..]), None);
    }
}
