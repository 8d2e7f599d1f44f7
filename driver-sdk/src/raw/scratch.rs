//! Scratch: memory whose content means nothing when a call begins, so that a rollback may leave what the call wrote.
//!
//! Nobody may read it before it is written again, whether the call that wrote it counted or not. That is so for entries
//! of a queue to the host at and beyond `produced`, and for what belongs to a place of a ring that was free when the
//! call began: counters say what of it means something, and they are put back.

#[cfg(target_arch = "wasm32")]
use nook_abi::Addr;

/// How many calls into the driver have begun. Only a module's calls can be rolled back, and a module has one thread.
#[cfg(target_arch = "wasm32")]
static mut CALLS: u32 = 0;

/// Notes that a call into the driver begins.
#[inline(always)]
pub(crate) fn begin_call() {
    // SAFETY: a module has one thread, and no reference to the counter is made.
    #[cfg(target_arch = "wasm32")]
    unsafe {
        (&raw mut CALLS).write((&raw const CALLS).read().wrapping_add(1))
    }
}

/// Returns the number of this call; natively, where nothing is rolled back, of all calls the same.
#[inline(always)]
pub(crate) fn call() -> u32 {
    // SAFETY: a module has one thread, and no reference to the counter is made.
    #[cfg(target_arch = "wasm32")]
    unsafe {
        (&raw const CALLS).read()
    }
    #[cfg(not(target_arch = "wasm32"))]
    0
}

/// A value that is written as words.
///
/// # Safety
/// It has `WORDS` words, aligned as they are and without padding, and any words are a value.
pub(crate) unsafe trait Words<const WORDS: usize>: Copy {
    /// Returns them as they lie in memory.
    fn words(self) -> [u64; WORDS];
}

#[cfg(target_arch = "wasm32")]
mod imports {
    use nook_abi::Addr;

    macro_rules! define_imports {
        ($({ $doc:literal } $since:tt $variant:ident fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
            #[link(wasm_import_module = "nook_hint")]
            unsafe extern "C" {
                $(pub fn $name($($arg: $ty),*) -> $result;)*
            }
        };
    }

    nook_abi::hints!(define_imports);
}

/// Writes words to scratch, `ahead` times their length behind `place`; it costs nothing more than a store if `ahead`
/// is a constant. Whether a rollback leaves them is no question of safety: they are words.
///
/// # Safety
/// What is `ahead` places behind `place` is valid for writes, aligned, and no reference to it exists.
#[inline(always)]
pub(crate) unsafe fn write<const WORDS: usize>(place: *mut [u64; WORDS], ahead: u32, words: [u64; WORDS]) {
    #[cfg(target_arch = "wasm32")]
    {
        let first = ahead * size_of::<[u64; WORDS]>() as u32;
        for (word, offset) in words.into_iter().zip((first..).step_by(size_of::<u64>())) {
            // SAFETY: the loader puts a store in the place of this call; what it writes to is inside the words for
            // which the caller vouched.
            unsafe { imports::store64(place as Addr, word, offset) }
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        // SAFETY: the caller vouched for the place.
        unsafe { place.add(ahead as usize).write(words) }
    }
}

/// Writes words to scratch that is ours: what belongs to a place that was free when the call began.
#[inline(always)]
pub(crate) fn write_free<const WORDS: usize>(place: &mut [u64; WORDS], words: [u64; WORDS]) {
    // SAFETY: the place is borrowed mutably, and the reference is not used while it is written.
    unsafe { write(&raw mut *place, 0, words) }
}

#[cfg(target_arch = "wasm32")]
const _: () = {
    // `wasm_import_module` above takes only a literal.
    let (module, expected) = (nook_abi::HINT_MODULE.as_bytes(), b"nook_hint");
    assert!(module.len() == expected.len());
    let mut i = 0;
    while i < expected.len() {
        assert!(module[i] == expected[i]);
        i += 1;
    }
};
