//! Protection keys: whether this machine has them in a way that a driver can run behind one, and one for each instance.
#![expect(unsafe_code, reason = "system calls about keys, and a register")]

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::trial;

/// Why no driver can run behind a protection key here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoKeys {
    /// The processor has none, or a hypervisor or the kernel's command line hides them.
    #[error(
        "this machine has no memory protection keys: they take a processor with PKU, which the kernel shows as `ospke` in \
         /proc/cpuinfo; use --isolation process or the sandbox"
    )]
    Machine,
    /// A signal that finds a thread inside a domain would end this process.
    #[error(
        "Linux {0} cannot deliver a signal to a thread that may not write to its handler's stack, so a driver's mistake \
         would end this process: --isolation mpk takes Linux 6.12 or later"
    )]
    Kernel(String),
    /// A signal would switch the protection off.
    #[error(
        "Linux {0} gives a thread inside a domain all rights when a signal's handler returns, so the protection would end \
         unnoticed: --isolation mpk takes a kernel with \"x86/pkeys: Ensure updated PKRU value is XRSTOR'd\" (6.12.5, 6.13)"
    )]
    Rights(String),
    /// Others have them all.
    #[error("all protection keys of this process are taken: at most 15 drivers run at --isolation mpk in one process")]
    AllTaken,
    /// It could not be found out; another time it may be.
    #[error("whether a driver can run behind a protection key could not be tried in a copy of this process: {0}")]
    Untried(String),
}

/// Returns an error if no driver can run behind a key in this process. What is found about machine and kernel is kept.
///
/// # Errors
/// Why not.
pub fn supported() -> Result<(), NoKeys> {
    static ANSWER: Mutex<Option<Result<(), NoKeys>>> = Mutex::new(None);
    let mut answer = ANSWER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = &*answer {
        return known.clone();
    }
    let found = look();
    if !matches!(found, Err(NoKeys::AllTaken | NoKeys::Untried(_))) {
        *answer = Some(found.clone());
    }
    found
}

fn look() -> Result<(), NoKeys> {
    drop(Key::new()?);
    let release = || std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    match trial::run().map_err(NoKeys::Untried)? {
        trial::Outcome::Holds => Ok(()),
        trial::Outcome::NotDelivered => Err(NoKeys::Kernel(release())),
        trial::Outcome::RightsLost => Err(NoKeys::Rights(release())),
    }
}

/// Returns whether processor and kernel have keys (Intel's manual, volume 2, CPUID: leaf 7, ECX bit 4, OSPKE).
fn in_use() -> bool {
    __cpuid_count(7, 0).ecx >> 4 & 1 == 1
}

/// Returns this thread's rights: two bits for each key, no access and no writes (Intel's manual, volume 3, 4.6.2).
pub(crate) fn rights() -> u32 {
    let rights: u32;
    // SAFETY: reads a register; there are keys, as the callers have found.
    unsafe { asm!("rdpkru", out("eax") rights, in("ecx") 0, out("edx") _, options(nomem, nostack)) };
    rights
}

/// A key of this process.
#[derive(Debug)]
pub(crate) struct Key(u32);

impl Key {
    /// Allocates one, to which this thread has no rights.
    pub(crate) fn new() -> Result<Key, NoKeys> {
        const NO_ACCESS: libc::c_long = 1;
        if !in_use() {
            return Err(NoKeys::Machine);
        }
        // SAFETY: takes numbers.
        match unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, NO_ACCESS) } {
            key @ 1..16 => Ok(Key(key as u32)),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ENOSPC) => Err(NoKeys::AllTaken),
                error => Err(NoKeys::Untried(format!("pkey_alloc: {error}"))),
            },
        }
    }

    /// Returns its number.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }

    /// Returns the rights of code behind it: it reads and writes what has this key, and writes nothing else, whatever
    /// the thread may write outside: keys of other drivers, of the embedder's, or ones that were freed.
    pub(crate) fn rights_inside(&self, outside: u32) -> u32 {
        const NO_WRITES: u32 = 0xaaaa_aaaa;
        (outside | NO_WRITES) & !(3 << (2 * self.0))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: nothing is mapped with it any more: memory goes before its key.
        unsafe { libc::syscall(libc::SYS_pkey_free, self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_only_the_own_key_can_be_written_whatever_the_thread_could_write_before() {
        let key = std::mem::ManuallyDrop::new(Key(3));
        assert_eq!(key.rights_inside(0x5555_5554), 0xffff_ff3e, "as a thread begins");
        assert_eq!(key.rights_inside(0), 0xaaaa_aa2a, "a thread that may do everything");
    }

    #[test]
    fn each_reason_says_what_it_takes() {
        assert!(NoKeys::Machine.to_string().contains("ospke"));
        assert!(NoKeys::Kernel("6.1.0".into()).to_string().contains("Linux 6.1.0"));
        assert!(NoKeys::Rights("6.12.1".into()).to_string().contains("6.12.5"));
    }
}
