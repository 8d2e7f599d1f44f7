//! What is accepted as an object: an image, and places in it to which its address is added. Everything else that a
//! dynamic linker does is refused by name.

use std::mem::offset_of;
use std::ops::Range;
use std::path::Path;

use nook_abi::{NATIVE_SYMBOL_PREFIX, NativeDriver, NativeEntries, NativeHead};
use nook_compiled::{CompiledDriver, CompiledError};
use nook_runtime::OwnedManifest;
use object::elf::{self, ProgramHeader64};
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, Object, ObjectSymbol};

use crate::code;
use crate::keys::NoKeys;
use crate::memory::PAGE;

/// Words in the table that a driver exports.
pub(crate) const ENTRIES: usize = size_of::<NativeEntries>() / size_of::<u64>();

/// More than any image is long, in memory.
const MOST_BYTES: u64 = 16 << 20;
const LE: Endianness = Endianness::Little;

/// Why a driver cannot run in a domain.
#[derive(Debug, thiserror::Error)]
pub enum MpkError {
    /// This machine cannot have one.
    #[error(transparent)]
    NoKeys(#[from] NoKeys),
    /// There is no such object, or it is not this driver's.
    #[error(transparent)]
    Object(#[from] CompiledError),
    /// It has what the loader does not do.
    #[error(
        "{path}: {why}; `nook-run build` (`cargo xtask drivers` in nook's tree) builds an object that --isolation mpk can load"
    )]
    Refused {
        /// The file.
        path: String,
        /// What it has.
        why: String,
    },
}

/// A part of the image.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Where it begins, counted from the image, and how long it is in memory.
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    /// What the file has of it; zeros follow.
    pub(crate) data: Vec<u8>,
    pub(crate) writes: bool,
    pub(crate) executes: bool,
}

impl Segment {
    /// Returns its pages, counted from the image.
    pub(crate) fn pages(&self) -> Range<u64> {
        self.at & !(PAGE - 1)..(self.at + self.bytes).next_multiple_of(PAGE)
    }
}

/// A function's name and where it begins.
#[derive(Clone, Debug)]
struct Symbol {
    at: u64,
    name: String,
}

/// An object, read and checked.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) segments: Vec<Segment>,
    /// Where an address is, and what it is counted from the image.
    pub(crate) relocations: Vec<(u64, u64)>,
    /// What is not written to any more once addresses are in it: whole pages of a writable segment.
    pub(crate) fixed: Range<u64>,
    /// Where the driver's functions begin, in the order of its table.
    pub(crate) entries: [u64; ENTRIES],
    /// In whole pages.
    pub(crate) bytes: u64,
    symbols: Vec<Symbol>,
}

impl Image {
    /// Reads the object at `path`.
    pub(crate) fn read(path: &Path, manifest: &OwnedManifest) -> Result<Image, MpkError> {
        Image::of(path, CompiledDriver::read(path, manifest)?, manifest)
    }

    /// Reads an object that came from `path`.
    pub(crate) fn of(path: &Path, file: CompiledDriver, manifest: &OwnedManifest) -> Result<Image, MpkError> {
        let name = format!("{NATIVE_SYMBOL_PREFIX}{}", manifest.name);
        let head = NativeHead::from_bytes(file.exported(&name)?);
        let refused = |why: String| MpkError::Refused { path: path.display().to_string(), why };
        if head != NativeHead::OURS {
            return Err(refused("it was built for other tables of functions than this host's".into()));
        }
        Image::parse(file.bytes(), &name).map_err(refused)
    }

    /// Reads an object that exports this.
    fn parse(bytes: &[u8], exported: &str) -> Result<Image, String> {
        let file = ElfFile64::<Endianness>::parse(bytes).map_err(|error| error.to_string())?;
        let mut segments: Vec<Segment> = Vec::new();
        let mut dynamic = Vec::new();
        let (mut stack, mut fixed) = (None, 0..0);
        for header in file.elf_program_headers() {
            match header.p_type(LE) {
                elf::PT_LOAD => segments.push(segment(header, bytes)?),
                elf::PT_DYNAMIC => {
                    dynamic =
                        header.dynamic(LE, bytes).map_err(|error| error.to_string())?.unwrap_or_default().to_vec();
                }
                elf::PT_INTERP => return Err("it names a program interpreter".into()),
                elf::PT_TLS => return Err("it has thread-locals".into()),
                elf::PT_GNU_STACK => stack = Some(header.p_flags(LE)),
                elf::PT_GNU_RELRO => {
                    let (at, bytes) = (header.p_vaddr(LE), header.p_memsz(LE));
                    let end = at.checked_add(bytes).ok_or("its fixed data makes no sense")?;
                    fixed = at & !(PAGE - 1)..end & !(PAGE - 1);
                }
                _ => {}
            }
        }
        if stack.is_none_or(|flags| flags & elf::PF_X != 0) {
            return Err("it asks for an executable stack".into());
        }
        let apart = segments.windows(2).all(|pair| pair[0].pages().end <= pair[1].pages().start);
        let bytes_in_memory = segments.last().map_or(0, |last| last.pages().end);
        if !apart || bytes_in_memory == 0 || segments.iter().any(|segment| segment.pages().end > MOST_BYTES) {
            return Err("its segments overlap, are out of order, or are too large".into());
        }
        let holds_fixed = |segment: &Segment| {
            segment.writes && segment.pages().start <= fixed.start && fixed.end <= segment.pages().end
        };
        if fixed.start < fixed.end && !segments.iter().any(holds_fixed) {
            return Err("its fixed data (GNU_RELRO) lies in no writable segment".into());
        }
        if segments.iter().filter(|segment| segment.executes).count() > 1 {
            return Err("it has more than one executable segment".into());
        }
        if let Some(symbol) = file.dynamic_symbols().find(|symbol| symbol.is_undefined()) {
            return Err(format!("it imports `{}`", symbol.name().unwrap_or("?")));
        }
        let relocations = relocations(&dynamic, &segments)?;
        for segment in segments.iter().filter(|segment| segment.executes) {
            code::check(&segment.data, segment.at)?;
        }
        let driver = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(exported));
        let driver = driver.ok_or_else(|| format!("it does not export `{exported}`"))?.address();
        let entries = entries(driver, &segments, &relocations)?;
        let functions = file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text);
        let mut symbols: Vec<_> = functions
            .filter_map(|symbol| Some(Symbol { at: symbol.address(), name: symbol.name().ok()?.to_owned() }))
            .collect();
        symbols.sort_by_key(|symbol| symbol.at);
        Ok(Image { segments, relocations, fixed, entries, bytes: bytes_in_memory, symbols })
    }

    /// Returns the name of what is there, and how far behind its beginning.
    pub(crate) fn symbol(&self, at: u64) -> Option<(&str, u64)> {
        let index = self.symbols.partition_point(|symbol| symbol.at <= at).checked_sub(1)?;
        (at < self.bytes).then(|| (self.symbols[index].name.as_str(), at - self.symbols[index].at))
    }
}

fn segment(header: &ProgramHeader64<Endianness>, file: &[u8]) -> Result<Segment, String> {
    let (at, bytes, flags) = (header.p_vaddr(LE), header.p_memsz(LE), header.p_flags(LE));
    let data = header.data(LE, file).map_err(|()| "a segment is not in the file")?.to_vec();
    let (writes, executes) = (flags & elf::PF_W != 0, flags & elf::PF_X != 0);
    if writes && executes {
        return Err(format!("its segment at {at:#x} is both writable and executable"));
    }
    if data.len() as u64 > bytes || at.checked_add(bytes).is_none_or(|end| end > MOST_BYTES) {
        return Err(format!("its segment at {at:#x} makes no sense"));
    }
    Ok(Segment { at, bytes, data, writes, executes })
}

/// Returns where the functions begin whose addresses are in the table that the driver exports.
fn entries(driver: u64, segments: &[Segment], relocations: &[(u64, u64)]) -> Result<[u64; ENTRIES], String> {
    let mut entries = [0; ENTRIES];
    for (index, entry) in entries.iter_mut().enumerate() {
        let offset = offset_of!(NativeDriver, entries) + index * size_of::<u64>();
        let word = driver.checked_add(offset as u64);
        let target = word.and_then(|word| relocations.iter().find(|(place, _)| *place == word));
        let (_, target) = target.ok_or_else(|| format!("number {index} of its functions has no address"))?;
        let holds = |segment: &Segment| {
            segment.executes && segment.at <= *target && *target < segment.at + segment.data.len() as u64
        };
        if !segments.iter().any(holds) {
            return Err(format!("number {index} of its functions, at {target:#x}, is no code"));
        }
        *entry = *target;
    }
    Ok(entries)
}

/// Returns what has to be relocated, out of the dynamic table (System V ABI, chapter 5; x86-64 supplement, 4.4).
fn relocations(table: &[elf::Dyn64<Endianness>], segments: &[Segment]) -> Result<Vec<(u64, u64)>, String> {
    let (mut at, mut bytes) = (0, 0);
    for entry in table.iter().take_while(|entry| entry.d_tag.get(LE) != 0) {
        let (tag, value) = (entry.d_tag.get(LE), entry.d_val.get(LE));
        match tag {
            elf::DT_NEEDED => return Err("it needs a library".into()),
            elf::DT_INIT | elf::DT_INIT_ARRAY | elf::DT_PREINIT_ARRAY | elf::DT_FINI | elf::DT_FINI_ARRAY => {
                return Err("it has constructors or destructors".into());
            }
            elf::DT_TEXTREL => return Err("it has text relocations".into()),
            elf::DT_FLAGS if value & u64::from(elf::DF_TEXTREL) != 0 => return Err("it has text relocations".into()),
            elf::DT_FLAGS if value & u64::from(elf::DF_STATIC_TLS) != 0 => return Err("it has thread-locals".into()),
            elf::DT_REL | elf::DT_JMPREL | DT_RELR => {
                return Err("it has relocations of another kind than the loader's".into());
            }
            elf::DT_RELA => at = value,
            elf::DT_RELASZ if value % RELOCATION_BYTES != 0 => {
                return Err("its table of relocations does not end with one".into());
            }
            elf::DT_RELASZ => bytes = value,
            elf::DT_RELAENT if value != RELOCATION_BYTES => {
                return Err("its relocations are of another size than the loader's".into());
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for offset in (0..bytes).step_by(RELOCATION_BYTES as usize) {
        let word = |n: u64| read_word(segments, at.checked_add(offset + n * 8)?);
        let [Some(place), Some(info), Some(addend)] = [0, 1, 2].map(word) else {
            return Err("its table of relocations lies outside the image".into());
        };
        match info as u32 {
            elf::R_X86_64_RELATIVE => {}
            elf::R_X86_64_IRELATIVE => return Err("it chooses functions at start (IFUNC)".into()),
            other => return Err(format!("it has a relocation of type {other}, which needs a symbol")),
        }
        let end = place.checked_add(size_of::<u64>() as u64);
        let inside =
            |segment: &&Segment| place >= segment.at && end.is_some_and(|end| end <= segment.at + segment.bytes);
        match segments.iter().find(inside) {
            Some(segment) if segment.writes => found.push((place, addend)),
            Some(_) => return Err(format!("it has text relocations: one at {place:#x}")),
            None => return Err(format!("its relocation at {place:#x} lies outside the image")),
        }
    }
    Ok(found)
}

/// Bytes of a relocation with an addend.
const RELOCATION_BYTES: u64 = 24;

/// Compact relative relocations, which the linker makes only when it is asked to.
const DT_RELR: i64 = 36;

fn read_word(segments: &[Segment], at: u64) -> Option<u64> {
    let segment = segments.iter().find(|segment| at >= segment.at && at - segment.at < segment.bytes)?;
    let from = (at - segment.at) as usize;
    Some(u64::from_le_bytes(segment.data.get(from..from.checked_add(8)?)?.try_into().ok()?))
}
