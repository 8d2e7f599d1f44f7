//! The socket that systemd passes to a service that it starts when a client connects (sd_listen_fds(3)): descriptor 3,
//! announced by `LISTEN_PID` and `LISTEN_FDS`. libnbd starts servers in the same way.
#![expect(unsafe_code, reason = "a descriptor that was passed is known by its number only")]

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::sockopt;

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// Returns the socket, or why there is none.
pub fn socket() -> Result<OwnedFd, &'static str> {
    const NOT_STARTED: &str = "this process was not started by it with a socket (LISTEN_PID, LISTEN_FDS); use a unit of \
                               type .socket, or systemd-socket-activate";
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Err(NOT_STARTED);
    }
    match number("LISTEN_FDS") {
        Some(1) => {}
        Some(2..) => return Err("it passed more than one socket; a disk is served at one"),
        _ => return Err(NOT_STARTED),
    }
    // SAFETY: the number is borrowed for the calls below only, and each of them fails if it is not open. The two
    // variables name this very process, so it was passed for this purpose.
    let passed = unsafe { BorrowedFd::borrow_raw(FIRST) };
    if !sockopt::socket_acceptconn(passed).is_ok_and(|listens| listens) {
        return Err("descriptor 3 is no socket that listens (Accept=no in the unit)");
    }
    // Neither is for the programs that this one starts.
    let failed = "descriptor 3 cannot be duplicated";
    fcntl_setfd(passed, FdFlags::CLOEXEC).map_err(|_| failed)?;
    fcntl_dupfd_cloexec(passed, FIRST).map_err(|_| failed)
}
