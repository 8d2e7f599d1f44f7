//! A BAR as memory of this process, for registers that a driver reaches without the host in between.

use std::fmt::Debug;

/// A whole memory BAR, mapped at the start of address space that nothing else uses.
///
/// It is for *direct* registers: the host hands the range to a trusted shim and sees none of the accesses, so
/// policy, trace and transactions do not exist for them. When the device goes, is given up, or the mapping is
/// revoked, pages of 0xff take its place: the range itself stays until the value is dropped.
///
/// # Safety
/// From `base`, `len_bytes` bytes stay readable and writable and `reserved_bytes` (at least as many) stay this
/// value's own, inaccessible beyond `len_bytes`, for as long as the value lives, wherever it is used from. None of
/// the range holds an interrupt table. Its users make no Rust reference into it: each access is a volatile one.
#[expect(unsafe_code, reason = "the code that hands out an address vouches for what is there")]
pub unsafe trait BarMemory: Debug + Send + Sync {
    /// Returns where it begins; page aligned.
    fn base(&self) -> *mut u8;

    /// Returns the BAR's size in bytes; whole pages of the host.
    fn len_bytes(&self) -> usize;

    /// Returns how much address space belongs to it.
    fn reserved_bytes(&self) -> usize;

    /// Returns whether pages of it were replaced because the device no longer answered.
    fn lost(&self) -> bool;

    /// Takes the device away from all that use the range: all of it reads as 0xff from now on, and writes go nowhere.
    fn revoke(&self);
}
