//! How a recording's events are written down. Most are small: numbers are what was added since the event before it.

use std::borrow::Cow;

use nook_abi::ENTRIES;
use nook_runtime::{Bytes, GlobalValue, HowLeft, Recorded};

use crate::frames::numbers::{
    arguments, byte, hostcall, number, put, put_bytes, put_call, put_hostcall, take_bytes, text,
};

const BEGUN: u8 = 1;
const ENDED: u8 = 2;
const ENTERED: u8 = 3;
const COUNTED: u8 = 4;
/// With 0 to 3 added: 1, 2, 4 or 8 bytes.
const LOADED_WORD: u8 = 5;
const LOADED: u8 = 9;
const CALLED: u8 = 10;
const REFUSED: u8 = 11;
const RETURNED: u8 = 12;
const FAULTED: u8 = 13;
const CUT: u8 = 14;
const ROLLED_BACK: u8 = 15;
const CAPTURED: u8 = 16;
const RESTORED: u8 = 17;
const STATE: u8 = 18;

/// What the numbers of an event are counted from; the same on both sides. With a state they begin at nothing: what was
/// before it may be gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    told_ns: u64,
    load: u64,
    addr: u64,
}

/// Appends how much a number has grown, or shrunk: the lowest bit says which.
fn put_change(out: &mut Vec<u8>, from: u64, to: u64) {
    let change = to.wrapping_sub(from).cast_signed();
    put(out, (change.wrapping_shl(1) ^ (change >> 63)).cast_unsigned());
}

fn changed(bytes: &mut &[u8], from: u64) -> Option<u64> {
    let change = number(bytes)?;
    Some(from.wrapping_add((change >> 1) ^ 0u64.wrapping_sub(change & 1)))
}

fn put_memory(out: &mut Vec<u8>, memory: &[Bytes<'_>]) {
    put(out, memory.len() as u64);
    for (addr, bytes) in memory {
        put(out, *addr);
        put_bytes(out, bytes);
    }
}

fn memory(bytes: &mut &[u8]) -> Option<Vec<Bytes<'static>>> {
    let count = number(bytes)?;
    // Each takes two bytes at least, so that a wrong number takes no more memory than there are bytes.
    if count > bytes.len() as u64 {
        return None;
    }
    (0..count).map(|_| Some((number(bytes)?, Cow::Owned(take_bytes(bytes)?.to_vec())))).collect()
}

fn put_global(out: &mut Vec<u8>, global: GlobalValue) {
    let (kind, value) = match global {
        GlobalValue::I32(value) => (0, value.into()),
        GlobalValue::I64(value) => (1, value),
        GlobalValue::F32(bits) => (2, bits.into()),
        GlobalValue::F64(bits) => (3, bits),
    };
    out.push(kind);
    put(out, value);
}

fn global(bytes: &mut &[u8]) -> Option<GlobalValue> {
    let (kind, value) = (byte(bytes)?, number(bytes)?);
    Some(match kind {
        0 => GlobalValue::I32(value.try_into().ok()?),
        1 => GlobalValue::I64(value),
        2 => GlobalValue::F32(value.try_into().ok()?),
        3 => GlobalValue::F64(value),
        _ => return None,
    })
}

/// Appends an event.
pub fn write(event: &Recorded<'_>, since: &mut Since, out: &mut Vec<u8>) {
    match event {
        Recorded::Begun => out.push(BEGUN),
        Recorded::Ended => out.push(ENDED),
        Recorded::Entered { entry, args, told_ns } => {
            put_call(out, ENTERED, *entry as u8, &args[..entry.info().args.len()]);
            put_change(out, since.told_ns, *told_ns);
            (since.told_ns, since.load) = (*told_ns, 0);
        }
        Recorded::Counted(instructions) => {
            out.push(COUNTED);
            put(out, *instructions);
        }
        Recorded::Loaded { load, bytes: (addr, bytes) } => {
            let width = [1, 2, 4, 8].iter().position(|&width| width == bytes.len());
            out.push(width.map_or(LOADED, |width| LOADED_WORD + width as u8));
            put_change(out, since.load, *load);
            put_change(out, since.addr, *addr);
            match width {
                Some(_) => out.extend_from_slice(bytes),
                None => put_bytes(out, bytes),
            }
            (since.load, since.addr) = (*load, *addr);
        }
        Recorded::Called { call, args, outcome } => put_hostcall(out, [CALLED, REFUSED], *call, args, outcome),
        Recorded::Left { how, loads, stored } => {
            match how {
                HowLeft::Returned(result) => {
                    out.push(RETURNED);
                    put(out, *result);
                }
                HowLeft::Faulted(why) => {
                    out.push(FAULTED);
                    put_bytes(out, why.as_bytes());
                }
                HowLeft::Cut(why) => {
                    out.push(CUT);
                    put_bytes(out, why.as_bytes());
                }
            }
            put(out, *loads);
            out.extend(stored.to_le_bytes());
        }
        Recorded::RolledBack(memory) => {
            out.push(ROLLED_BACK);
            put_memory(out, memory);
        }
        Recorded::Captured(snapshot) => {
            out.push(CAPTURED);
            put(out, *snapshot);
        }
        Recorded::Restored { snapshot, memory } => {
            out.push(RESTORED);
            put(out, *snapshot);
            put_memory(out, memory);
        }
        Recorded::State { globals, memory } => {
            out.push(STATE);
            put(out, globals.len() as u64);
            globals.iter().for_each(|&global| put_global(out, global));
            put_memory(out, memory);
            *since = Since::default();
        }
    }
}

/// Takes one from the front of `bytes`; nothing, if what stands there is none.
pub fn read(since: &mut Since, bytes: &mut &[u8]) -> Option<Recorded<'static>> {
    let kind = byte(bytes)?;
    Some(match kind {
        BEGUN => Recorded::Begun,
        ENDED => Recorded::Ended,
        ENTERED => {
            let row = ENTRIES.get(usize::from(byte(bytes)?))?;
            let args = arguments(bytes, row.args.len())?;
            let told_ns = changed(bytes, since.told_ns)?;
            (since.told_ns, since.load) = (told_ns, 0);
            Recorded::Entered { entry: row.entry, args, told_ns }
        }
        COUNTED => Recorded::Counted(number(bytes)?),
        LOADED_WORD..=LOADED => {
            let load = changed(bytes, since.load)?;
            let addr = changed(bytes, since.addr)?;
            let loaded = match kind {
                LOADED => take_bytes(bytes)?,
                _ => {
                    let (word, rest) = bytes.split_at_checked(1 << (kind - LOADED_WORD))?;
                    *bytes = rest;
                    word
                }
            };
            (since.load, since.addr) = (load, addr);
            Recorded::Loaded { load, bytes: (addr, loaded.to_vec().into()) }
        }
        CALLED | REFUSED => {
            let (call, args, outcome) = hostcall(bytes, kind == REFUSED)?;
            Recorded::Called { call, args, outcome: outcome.map_err(Cow::Owned) }
        }
        RETURNED | FAULTED | CUT => {
            let how = match kind {
                RETURNED => HowLeft::Returned(number(bytes)?),
                FAULTED => HowLeft::Faulted(text(bytes)?.into()),
                _ => HowLeft::Cut(text(bytes)?.into()),
            };
            let loads = number(bytes)?;
            let (stored, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            Recorded::Left { how, loads, stored: u64::from_le_bytes(*stored) }
        }
        ROLLED_BACK => Recorded::RolledBack(memory(bytes)?),
        CAPTURED => Recorded::Captured(number(bytes)?),
        RESTORED => Recorded::Restored { snapshot: number(bytes)?, memory: memory(bytes)? },
        STATE => {
            let count = number(bytes)?;
            // Each takes two bytes at least.
            let globals = if count > bytes.len() as u64 { None } else { (0..count).map(|_| global(bytes)).collect() };
            *since = Since::default();
            Recorded::State { globals: globals?, memory: memory(bytes)? }
        }
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use nook_abi::{Entry, Hostcall};
    use nook_seed::Rng;

    use super::*;

    /// One of each kind, with numbers that grow and shrink.
    pub fn all() -> Vec<Recorded<'static>> {
        let why = || Cow::Borrowed("no");
        let args = [3, 0x80, u64::MAX];
        let bytes = |len: usize| (0x10_0000 + len as u64, Cow::Owned((0..len).map(|at| at as u8).collect()));
        let left = |how| Recorded::Left { how, loads: 7, stored: u64::MAX - 5 };
        let mut all = vec![
            Recorded::Begun,
            Recorded::Entered { entry: Entry::Poll, args, told_ns: 1 << 60 },
            Recorded::Counted(u64::MAX >> 1),
            Recorded::Called { call: Hostcall::MmioWrite32, args, outcome: Ok(0) },
        ];
        all.extend([8, 1, 2, 4, 3, 0, 300].map(|len| Recorded::Loaded { load: len as u64, bytes: bytes(len) }));
        all.extend([
            left(HowLeft::Returned(-5i64 as u64)),
            Recorded::RolledBack(vec![bytes(8), bytes(16)]),
            Recorded::Entered { entry: Entry::Irq, args: [1, 0, 0], told_ns: 5 },
            Recorded::Called { call: Hostcall::ClockNs, args: [0; 3], outcome: Err(why()) },
            left(HowLeft::Faulted(why())),
            Recorded::Captured(3),
            left(HowLeft::Cut(why())),
            Recorded::Restored { snapshot: 3, memory: vec![bytes(4096)] },
            Recorded::Restored { snapshot: 4, memory: vec![] },
            Recorded::State {
                globals: vec![
                    GlobalValue::I32(u32::MAX),
                    GlobalValue::I64(1 << 63),
                    GlobalValue::F32(0x7fc0_0000),
                    GlobalValue::F64(0),
                ],
                memory: vec![bytes(16)],
            },
            Recorded::Entered { entry: Entry::Irq, args: [1, 0, 0], told_ns: 9 },
            Recorded::Ended,
        ]);
        all.iter_mut().for_each(|event| {
            if let Recorded::Entered { entry, args, .. } = event {
                args[entry.info().args.len()..].fill(0);
            }
        });
        all
    }

    fn written(events: &[Recorded<'_>]) -> Vec<u8> {
        let (mut since, mut bytes) = (Since::default(), Vec::new());
        events.iter().for_each(|event| write(event, &mut since, &mut bytes));
        bytes
    }

    #[test]
    fn what_was_written_is_read_again_and_what_is_cut_off_is_no_event() {
        let (bytes, mut since) = (written(&all()), Since::default());
        let mut rest = &bytes[..];
        for event in all() {
            let (before, begun) = (rest, since);
            assert_eq!(read(&mut since, &mut rest), Some(event.clone()));
            for len in 0..before.len() - rest.len() {
                assert_eq!(read(&mut begun.clone(), &mut &before[..len]), None, "{event:?} cut off at {len}");
            }
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn whatever_stands_there_is_read_without_a_panic_and_without_much_memory() {
        let (whole, mut rng) = (written(&all()), Rng::new(11));
        for _ in 0..20_000 {
            let mut bytes = whole.clone();
            for _ in 0..=rng.index(3) {
                let at = rng.index(bytes.len());
                bytes[at] = rng.below(256) as u8;
            }
            let (mut rest, mut since) = (&bytes[..rng.index(bytes.len())], Since::default());
            while read(&mut since, &mut rest).is_some() {}
        }
    }
}
