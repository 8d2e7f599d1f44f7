//! The calls of the C library that make a pseudo-terminal's slave side usable.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Longer than any slave's name.
const NAME_BYTES: usize = 128;

/// Unlocks the slave side of a master, and returns where it is.
pub(crate) fn unlock(master: &OwnedFd) -> io::Result<PathBuf> {
    let mut name = [0 as libc::c_char; NAME_BYTES];
    // SAFETY: the descriptor is open.
    if unsafe { libc::unlockpt(master.as_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and the buffer as long as it is said to be.
    let error = unsafe { libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), name.len()) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    // SAFETY: the call has ended the name with a zero, inside the buffer, which nobody changes.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(OsStr::from_bytes(name.to_bytes()).into())
}
