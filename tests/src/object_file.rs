//! An object for `--isolation mpk` as a file, in which one thing can be changed: what the loader refuses is tried so.

use std::fs;

use crate::driver_file;

/// An object to be broken.
#[derive(Clone)]
pub struct ObjectFile(pub Vec<u8>);

/// Kinds of program headers (System V ABI, chapter 5).
pub const PT_LOAD: u32 = 1;
/// The same.
pub const PT_DYNAMIC: u32 = 2;
/// A segment that is executed.
pub const EXECUTES: u8 = 1;
/// Tags of the dynamic table (System V ABI, chapter 5).
pub const DT_SYMTAB: u64 = 6;
/// The same.
pub const DT_RELA: u64 = 7;
/// A table that the loader does not read, whose place in the dynamic table is there for another.
const DT_GNU_HASH: u64 = 0x6fff_fef5;
/// Where the flags of a program header are.
pub const FLAGS: usize = 4;

impl ObjectFile {
    /// Returns the hostile driver's object.
    ///
    /// # Panics
    /// If it was not built. So do the others if the file is not as the linker makes it.
    pub fn hostile() -> ObjectFile {
        ObjectFile(fs::read(driver_file("hostile").with_extension("mpk")).expect("run `cargo xtask drivers`"))
    }

    /// Returns the word at an offset of the file.
    pub fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// Changes it.
    pub fn set(&mut self, at: usize, word: u64) {
        self.0[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    /// Returns where the program headers of a kind are.
    pub fn headers(&self, kind: u32) -> Vec<usize> {
        let (first, count) = (self.word(32) as usize, u16::from_le_bytes([self.0[56], self.0[57]]) as usize);
        let all = (0..count).map(|index| first + index * 56);
        all.filter(|&at| self.0[at..at + 4] == kind.to_le_bytes()).collect()
    }

    /// Returns where in the file is what is mapped there.
    pub fn offset(&self, address: u64) -> usize {
        let loads = self.headers(PT_LOAD).into_iter().map(|at| [8, 16, 32].map(|field| self.word(at + field)));
        let mut holds = loads.filter(|&[_, start, bytes]| address >= start && address < start + bytes);
        holds.next().map(|[offset, start, _]| (address - start + offset) as usize).unwrap()
    }

    /// Returns where the entry of the dynamic table is that has this tag.
    pub fn dynamic(&self, tag: u64) -> usize {
        let from = self.word(self.headers(PT_DYNAMIC)[0] + 8) as usize;
        (from..).step_by(16).find(|&at| self.word(at) == tag).unwrap()
    }

    /// Returns where the relocation with this number is.
    pub fn relocation(&self, index: usize) -> usize {
        self.offset(self.word(self.dynamic(DT_RELA) + 8)) + index * 24
    }

    /// Returns where code begins.
    pub fn code(&self) -> usize {
        let is_code = |at: &usize| self.0[at + FLAGS] & EXECUTES != 0;
        self.word(self.headers(PT_LOAD).into_iter().find(is_code).unwrap() + 8) as usize
    }

    /// Makes the first program header of a kind one of another.
    pub fn retype(&mut self, from: u32, to: u32) {
        let at = self.headers(from)[0];
        self.0[at..at + 4].copy_from_slice(&to.to_le_bytes());
    }

    /// Puts an entry into the dynamic table.
    pub fn say(&mut self, tag: u64, value: u64) {
        let at = self.dynamic(DT_GNU_HASH);
        self.set(at, tag);
        self.set(at + 8, value);
    }

    /// Returns where the symbol of the driver's table is, and where the table is in memory: it is the only object.
    pub fn table(&self) -> (usize, u64) {
        let first = self.offset(self.word(self.dynamic(DT_SYMTAB) + 8));
        let object = (first..).step_by(24).find(|&at| self.0[at + 4] & 0xf == 1).unwrap();
        (object, self.word(object + 8))
    }

    /// Returns where the relocation of the first of the driver's functions is.
    pub fn first_function(&self) -> usize {
        // After the head and the manifest's address.
        let place = self.table().1 + 16;
        (0..).map(|index| self.relocation(index)).find(|&at| self.word(at) == place).unwrap()
    }
}
