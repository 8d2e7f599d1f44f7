//! Maps and texts at random, from fixed seeds: reading panics never, what is a map is written and read as the same map,
//! and what is no map is refused with a place in the text.

use nook_regs::{
    Access, Bar, BarSpace, Bits, Direction, FieldInfo, Guard, GuardRule, GuardState, LinkBits, Needs, Never, PciClass,
    PciId, Place, ReadEffect, Ready, RegisterInfo, RegisterMap, Restore, Then, Transfer, Width, WriteEffect,
};
use nook_regs_file::{MapFile, allows, read, write};
use nook_seed::Rng;

const NAMES: &[&str] = &["A", "CTRL", "RX_BASE", "TDBAL", "x9", "_", "then", "RING_0", "NAME_OF_A_REGISTER"];
const TEXTS: &[&str] = &["", "13.4.3", "a \"quoted\" \\ text", "# no comment", "base address", "'''", "{ x = [1] }"];
const STATES: &[&str] = &["unknown", "next", "stay", "after a word", "a-b.c"];

fn pick<T: Copy>(rng: &mut Rng, items: &[T]) -> T {
    items[rng.index(items.len())]
}

/// Bits of a register: few, many, all, none, or too many.
fn bits(rng: &mut Rng, width: Width) -> u64 {
    match rng.below(10) {
        0 => 0,
        1 => u64::MAX,
        2 => width.all_ones(),
        3..=6 => 1 << rng.below(width.bits().into()),
        _ => rng.word() & width.all_ones(),
    }
}

fn some_bits(rng: &mut Rng, width: Width) -> Bits {
    let mask = bits(rng, width);
    let values = (0..rng.below(4)).map(|_| rng.word() & mask).collect::<Vec<_>>();
    if rng.one_in(3) { Bits::ANY } else { Bits::new(mask, values.leak()) }
}

fn guard(rng: &mut Rng, width: Width) -> Guard {
    let count = rng.below(4) + u64::from(!rng.one_in(20));
    let never = (0..rng.below(3)).map(|_| Never { now: some_bits(rng, width), why: pick(rng, TEXTS) });
    let never = never.collect::<Vec<_>>().leak();
    let states = (0..count).map(|at| {
        let rules = (0..rng.below(4)).map(|_| GuardRule {
            now: some_bits(rng, width),
            before: if at == 0 && !rng.one_in(20) { Bits::ANY } else { some_bits(rng, width) },
            then: match rng.below(4) {
                0 if at + 1 < count || rng.one_in(20) => Then::Next,
                1 => {
                    let past = u64::from(rng.one_in(20));
                    Then::To(rng.below(count + past) as u16)
                }
                2 => Then::Refuse(pick(rng, TEXTS)),
                _ => Then::Stay,
            },
        });
        let rules = rules.collect::<Vec<_>>().leak();
        let name = if rng.one_in(20) { pick(rng, STATES) } else { STATES[at as usize] };
        GuardState { name, count: rng.below(3) as u32 + u32::from(!rng.one_in(20)), rules }
    });
    Guard { never, states: states.collect::<Vec<_>>().leak(), busy: if rng.one_in(2) { 0 } else { bits(rng, width) } }
}

/// Returns a transfer that may be nonsense: mostly of registers that the map has.
fn transfer(rng: &mut Rng, width: Width) -> Transfer {
    let place = |rng: &mut Rng| {
        let (register, first) = (NAMES[rng.index(2)], rng.word() >> rng.below(64));
        if rng.one_in(2) { Place::window(register) } else { Place::device(register, first, first | rng.word()) }
    };
    let directions = (0..rng.below(3)).map(|_| {
        let places = (0..rng.below(3)).map(|_| place(rng)).collect::<Vec<_>>();
        Direction { now: some_bits(rng, width), places: places.leak() }
    });
    let directions = directions.collect::<Vec<_>>().leak();
    let address_bits = if rng.one_in(2) { 64 } else { rng.below(66) as u32 };
    Transfer { start: bits(rng, width), length: NAMES[rng.index(2)], address_bits, directions }
}

/// Returns a register that may be nonsense, and mostly is not.
fn register(rng: &mut Rng, at: u32) -> RegisterInfo {
    let width = pick(rng, &[Width::B1, Width::B2, Width::B4, Width::B8]);
    let access = pick(rng, &[Access::Rw, Access::Rw, Access::Ro, Access::Wo, Access::Forbidden]);
    let (count, stride) = match rng.below(6) {
        0 => (rng.below(4) as u32, width.bytes() * rng.below(3) as u32),
        1 => (1, width.bytes()),
        _ => (1, 0),
    };
    let offset = if rng.one_in(20) { rng.word() as u32 } else { at * 32 };
    let name = if rng.one_in(20) { pick(rng, NAMES) } else { NAMES[at as usize % NAMES.len()] };
    let bar = if rng.one_in(20) { 7 } else { rng.below(2) as u8 };
    let mut info = RegisterInfo::declared(name, offset, width, count, stride, access, pick(rng, TEXTS)).in_bar(bar);
    if access.reads() {
        info.posts_only = rng.one_in(4);
        info.held_up = if rng.one_in(6) { bits(rng, width) } else { 0 };
        let set = bits(rng, width);
        info.needs = pick(rng, &[Needs::Nothing, Needs::Nothing, Needs::Nothing, Needs::Open(set), Needs::Link(set)]);
        info.link = pick(rng, &[LinkBits::Nothing, LinkBits::Nothing, LinkBits::Set(set), LinkBits::Clear(set)]);
        info.read = pick(
            rng,
            &[
                ReadEffect::None,
                ReadEffect::None,
                ReadEffect::ClearsOr,
                ReadEffect::ClearsAdd,
                ReadEffect::ClearsPair,
                ReadEffect::Pops,
                ReadEffect::Other,
            ],
        );
    }
    if access.writes() {
        let reset = bits(rng, width);
        info.write = pick(
            rng,
            &[
                WriteEffect::Plain,
                WriteEffect::Plain,
                WriteEffect::OneClears,
                WriteEffect::DmaBase,
                WriteEffect::DmaBaseOrZero,
                WriteEffect::DmaBaseHigh,
                WriteEffect::Doorbell,
                WriteEffect::Command,
                WriteEffect::Reset(reset),
            ],
        );
        let other = bits(rng, width);
        info.restore = pick(
            rng,
            &[
                Restore::Nothing,
                Restore::Nothing,
                Restore::Written,
                Restore::Held,
                Restore::Mask,
                Restore::Switch,
                Restore::Quiet(other),
                Restore::ResetBy(reset),
            ],
        );
        if rng.one_in(3) {
            info.guard = Some(guard(rng, width));
        }
        if rng.one_in(3) {
            info.transfer = Some(transfer(rng, width));
        }
    }
    let fields = (0..rng.below(3)).map(|field| FieldInfo {
        name: NAMES[field as usize],
        shift: field as u32 * 3,
        bits: rng.below(3) as u32 + u32::from(!rng.one_in(20)),
    });
    info.fields = fields.collect::<Vec<_>>().leak();
    info
}

/// Returns a map, if what was drawn makes sense.
fn map(rng: &mut Rng) -> Option<RegisterMap> {
    let bars = [0, 1].map(|index| {
        let space = if rng.one_in(4) { BarSpace::Io } else { BarSpace::Memory };
        Bar { index, space, len_bytes: if rng.one_in(20) { 1 } else { 0x1000 } }
    });
    let bars = bars.to_vec().leak();
    let registers = (0..rng.below(6) as u32).map(|at| register(rng, at));
    let mut registers = registers.collect::<Vec<_>>();
    if let [popped, status, ..] = &mut registers[..]
        && rng.one_in(8)
    {
        *popped = RegisterInfo::declared(NAMES[0], 0, Width::B1, 1, 0, Access::Rw, "4.1").read(ReadEffect::Pops);
        *status = RegisterInfo::declared(NAMES[1], 32, Width::B1, 1, 0, Access::Ro, "4.2").read(ReadEffect::ClearsOr);
        popped.ready = Some(Ready { register: NAMES[rng.index(2)], bits: bits(rng, Width::B1) });
    }
    // Three registers seldom fit together by themselves.
    if let [from, length, start, ..] = &mut registers[..]
        && rng.one_in(4)
    {
        for (info, offset) in [(&mut *from, 0), (length, 32), (&mut *start, 64)] {
            let name = NAMES[offset as usize / 32];
            *info = RegisterInfo::declared(name, offset, Width::B8, 1, 0, Access::Rw, "4.1");
        }
        start.transfer = Some(transfer(rng, Width::B8));
    }
    let registers = registers.leak();
    let device = PciId { vendor: 0x1af4, device: rng.word() as u16 };
    let devices: &'static [PciId] = vec![device, PciId { vendor: 0, device: 0xffff }].leak();
    let classes: &'static [PciClass] = if rng.one_in(2) { &[PciClass(0x01_0802), PciClass(0)] } else { &[] };
    let map = RegisterMap::new("at-random.1", bars, registers).ok()?;
    Some(map.for_devices(devices).for_classes(classes))
}

/// Returns what holds for every text: what is read is written and read as the same; what is refused has a place in the
/// text.
fn look_at(text: &str) -> Option<MapFile> {
    match read(text) {
        Ok(file) => {
            let again = read(&write(file.map)).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(again.map, file.map, "{text}");
            assert_eq!(file.lines.len(), file.map.registers().len());
            assert!(allows(&file).is_ascii());
            Some(file)
        }
        Err(error) => {
            let line = text.split('\n').nth(error.line - 1);
            let columns = line.unwrap_or_else(|| panic!("{error}\n{text}")).chars().count();
            assert!((1..=columns + 1).contains(&error.column), "{error}\n{text}");
            assert!(!error.why.is_empty() && error.why.chars().all(|c| !c.is_control()), "{error:?}");
            None
        }
    }
}

#[test]
fn every_map_is_written_and_read_as_it_was() {
    let mut rng = Rng::new(13);
    let (mut maps, mut transfers) = (0, 0);
    for _ in 0..20_000 {
        let Some(map) = map(&mut rng) else { continue };
        let text = write(&map);
        let file = look_at(&text).unwrap_or_else(|| panic!("{:?}\n{text}", read(&text)));
        assert_eq!(*file.map, map, "{text}");
        maps += usize::from(!map.registers().is_empty());
        transfers += map.registers().iter().filter(|info| info.transfer.is_some()).count();
    }
    assert!(transfers > 100, "only {transfers} transfers make sense");
    assert!(maps > 1_000, "only {maps} of them make sense");
}

/// Returns a text in which some bytes are others, or some lines are elsewhere, gone, or there twice.
fn mutated(rng: &mut Rng, text: &str) -> String {
    if rng.one_in(2) {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.index(bytes.len());
            bytes[at] = match rng.below(4) {
                0 => rng.word() as u8,
                1 => bytes[rng.index(bytes.len())],
                _ => pick(rng, b"0123456789abcdefx\"'[]{}=,.#-_ \n\\"),
            };
        }
        return String::from_utf8_lossy(&bytes).into_owned();
    }
    let mut lines: Vec<&str> = text.lines().collect();
    for _ in 0..=rng.below(3) {
        let (from, to) = (rng.index(lines.len()), rng.index(lines.len()));
        match rng.below(4) {
            0 if lines.len() > 1 => drop(lines.remove(from)),
            1 => lines.truncate(from + 1),
            2 => lines.swap(from, to),
            _ => lines.insert(to, lines[from]),
        }
    }
    lines.join("\n")
}

#[test]
fn a_damaged_file_is_refused_or_is_another_map_and_never_ends_the_host() {
    let mut rng = Rng::new(1313);
    let mut sensible = Vec::new();
    while sensible.len() < 50 {
        sensible.extend(map(&mut rng).map(|map| write(&map)));
    }
    sensible.extend([&edu_regs::MAP, &vmxnet3_regs::MAP].map(write));
    let (mut read, mut refused) = (0, 0);
    for _ in 0..30_000 {
        let text = &sensible[rng.index(sensible.len())];
        let text = mutated(&mut rng, text);
        *if look_at(&text).is_some() { &mut read } else { &mut refused } += 1;
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}

#[test]
fn every_cut_of_a_file_is_refused_or_a_map() {
    let text = write(&edu_regs::MAP);
    for end in 0..text.len() {
        look_at(&text[..end]);
    }
}

#[test]
fn noise_is_refused() {
    let mut rng = Rng::new(7);
    for _ in 0..2_000 {
        let len = rng.below(200);
        let noise: String = (0..len).map(|_| char::from_u32(rng.below(0x2fff) as u32).unwrap_or('[')).collect();
        assert!(look_at(&noise).is_none(), "{noise}");
        let words = ["format", "=", "1", "\n", "[[", "]]", "register", "bar", "{", "}", "\"", ",", "name", ".", "0x"];
        let noise: String = (0..len).map(|_| pick(&mut rng, &words)).collect();
        assert!(look_at(&noise).is_none(), "{noise}");
    }
}
