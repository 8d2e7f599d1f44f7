//! Mistakes in a driver that was compiled for this machine (x86-64): of the same classes as those in WebAssembly, so
//! that levels of isolation can be compared by class. A mistake takes no more bytes than the instruction that it
//! stands for, so nothing else in the file moves.
//!
//! Whether a mistake is reached is found out by a trap in its place ([`MachineMistake::trap`]): machine code cannot
//! be asked.

mod bytes;
mod mistake;

use iced_x86::{Decoder, DecoderOptions, FastFormatter, FlowControl, Instruction};
use nook_seed::Rng;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::{CodeClass, PlantError};
use mistake::mistake;

/// What a mangled name has in it that is not of the driver, nor of what it is made of: Rust's standard library, and
/// what that is made of. A driver's mistakes are not made there.
const FOREIGN: [&str; 10] = [
    "3std",
    "5gimli",
    "9addr2line",
    "14rustc_demangle",
    "12panic_unwind",
    "6adler2",
    "6object",
    "11miniz_oxide",
    "6memchr",
    "7___rustc",
];
/// The driver's side of a process's channel, which is no driver's either.
const GUEST: &str = "nook_process_guest::";

/// How many instructions before a hostcall may make an argument of it.
const NEXT: usize = 4;

/// How often it is drawn what a mistake makes of an instruction: some registers do not fit where others do.
const DRAWS: usize = 64;

/// What a driver was compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectForm {
    /// A shared object, whose hostcalls go through a table.
    Shared,
    /// A program, which has the C library in it.
    Program,
}

/// A mistake in a file of machine code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineMistake {
    /// Its kind.
    pub class: CodeClass,
    /// Where, and what was changed, in words.
    pub what: String,
    /// Where in the file, in bytes.
    pub offset: usize,
    /// What stands there instead.
    pub bytes: Vec<u8>,
}

impl MachineMistake {
    /// Makes it in a file, which is the one in which it was found.
    pub fn make(&self, file: &mut [u8]) {
        if let Some(place) = file.get_mut(self.offset..self.offset + self.bytes.len()) {
            place.copy_from_slice(&self.bytes);
        }
    }

    /// Puts breakpoints in its place (INT3; Intel's manual, volume 2): who comes there gets `SIGTRAP`. All of it is
    /// instructions, so that what follows is read as before.
    pub fn trap(&self, file: &mut [u8]) {
        if let Some(place) = file.get_mut(self.offset..self.offset + self.bytes.len()) {
            place.fill(0xcc);
        }
    }
}

/// One function of the driver's.
struct Function {
    name: String,
    at: u64,
    code: Vec<Instruction>,
}

/// An instruction and what is around it.
struct Place<'a> {
    form: ObjectForm,
    /// Where the function begins.
    begin: u64,
    instruction: &'a Instruction,
    bytes: &'a [u8],
    /// What is executed after it, up to what sends control elsewhere.
    next: &'a [Instruction],
}

/// The file, and where its code lies.
struct Image<'a> {
    file: &'a [u8],
    form: ObjectForm,
    /// What an address is beyond its offset in the file.
    moved: u64,
}

impl Image<'_> {
    fn offset(&self, address: u64) -> usize {
        address.wrapping_sub(self.moved) as usize
    }

    fn place<'p>(&'p self, function: &'p Function, number: usize) -> Option<Place<'p>> {
        let instruction = &function.code[number];
        let from = self.offset(instruction.ip());
        let bytes = self.file.get(from..from + instruction.len()).filter(|_| !instruction.is_invalid())?;
        let after = &function.code[number + 1..];
        let goes_on = |next: &&Instruction| next.flow_control() == FlowControl::Next;
        let count = after.iter().take(NEXT).take_while(goes_on).count();
        let next = &after[..(count + 1).min(after.len())];
        Some(Place { form: self.form, begin: function.at, instruction, bytes, next })
    }
}

/// Where mistakes can be made in a file of machine code.
pub struct MachineSites<'a> {
    image: Image<'a>,
    functions: Vec<Function>,
    /// For each class in the order of [`CodeClass::ALL`]: function and instruction, each by number.
    places: Vec<Vec<(u32, u32)>>,
}

impl<'a> MachineSites<'a> {
    /// Looks for them in a driver's object or program.
    ///
    /// # Errors
    /// If it is not for x86-64, or does not tell its functions' names.
    pub fn of(file: &'a [u8], form: ObjectForm) -> Result<Self, PlantError> {
        let elf = object::File::parse(file).map_err(PlantError::new)?;
        if elf.architecture() != object::Architecture::X86_64 {
            return Err(PlantError::new("mistakes in machine code are known for x86-64 only"));
        }
        let text = elf.section_by_name(".text").ok_or_else(|| PlantError::new("it has no code"))?;
        let (start, _) = text.file_range().ok_or_else(|| PlantError::new("its code is not in the file"))?;
        let (base, code) = (text.address(), text.data().map_err(PlantError::new)?);
        let mut functions: Vec<_> = elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| is_the_drivers(name, form))?;
                let from = usize::try_from(symbol.address().checked_sub(base)?).ok()?;
                let bytes = code.get(from..from.checked_add(usize::try_from(symbol.size()).ok()?)?)?;
                let decoder = Decoder::with_ip(64, bytes, symbol.address(), DecoderOptions::NONE);
                let name = format!("{:#}", rustc_demangle::demangle(name));
                Some(Function { name, at: symbol.address(), code: decoder.into_iter().collect() })
            })
            .collect();
        functions.sort_by_key(|function| function.at);
        functions.dedup_by_key(|function| function.at);
        let image = Image { file, form, moved: base.wrapping_sub(start) };
        let mut places = vec![Vec::new(); CodeClass::ALL.len()];
        for (at, function) in functions.iter().enumerate() {
            for number in 0..function.code.len() {
                let Some(place) = image.place(function, number) else { continue };
                for (class, places) in CodeClass::ALL.iter().zip(&mut places) {
                    if mistake(*class, &place, &mut Rng::new(0)).is_some() {
                        places.push((at as u32, number as u32));
                    }
                }
            }
        }
        Ok(MachineSites { image, functions, places })
    }

    /// Returns in how many places mistakes of this kind can be made.
    pub fn count(&self, class: CodeClass) -> usize {
        CodeClass::ALL.iter().position(|other| *other == class).map_or(0, |at| self.places[at].len())
    }

    /// Draws a mistake from a seed: its kind first, each as often as the others, and then its place.
    ///
    /// # Errors
    /// If there is no place for any mistake.
    pub fn draw(&self, seed: u64) -> Result<MachineMistake, PlantError> {
        let classes: Vec<_> =
            CodeClass::ALL.iter().zip(&self.places).filter(|(_, places)| !places.is_empty()).collect();
        if classes.is_empty() {
            return Err(PlantError::new("it has no code of the driver's, or does not tell its functions' names"));
        }
        let mut rng = Rng::new(seed);
        let (class, places) = classes[rng.index(classes.len())];
        let (function, number) = places[rng.index(places.len())];
        let function = &self.functions[function as usize];
        let lost = || PlantError::new("a mistake could not be made again where it was found");
        let place = self.image.place(function, number as usize).ok_or_else(lost)?;
        let bytes = (0..DRAWS).find_map(|_| mistake(*class, &place, &mut rng)).ok_or_else(lost)?;
        let at = place.instruction.ip();
        let is = Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE).into_iter();
        let is: Vec<_> = is.map(|one| text(&one)).filter(|text| text != "nop").collect();
        let is = if is.is_empty() { "nothing".into() } else { is.join("; ") };
        let what = format!("{}+{:#x}: {} is {is}", function.name, at - function.at, text(place.instruction));
        Ok(MachineMistake { class: *class, what, offset: self.image.offset(at), bytes })
    }
}

/// Returns whether a function is the driver's, or the SDK's in it. A program has the C library in it, whose names are
/// not mangled.
fn is_the_drivers(name: &str, form: ObjectForm) -> bool {
    let is_mangled = name.starts_with("_ZN") || name.starts_with("_R");
    let is_foreign = || FOREIGN.iter().any(|part| name.contains(part));
    match form {
        ObjectForm::Shared if !is_mangled => !name.starts_with('_') && !name.starts_with("rust_"),
        _ => is_mangled && !is_foreign() && !is_the_channels(name),
    }
}

/// Returns whether a function, or the type whose method it is, is the channel's.
fn is_the_channels(name: &str) -> bool {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    name.trim_start_matches(['<', '&', '(', '[']).starts_with(GUEST)
}

fn text(instruction: &Instruction) -> String {
    let mut text = String::new();
    FastFormatter::new().format(instruction, &mut text);
    text
}

#[cfg(test)]
mod tests;
