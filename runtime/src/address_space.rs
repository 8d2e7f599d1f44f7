//! What to say when the system has no address space left: sandboxes reserve much and use little of it, and `ulimit -v`
//! counts what is reserved.

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit};

const GIB: f64 = (1 << 30) as f64;

/// Describes that this many bytes could not be reserved, the limit that stands in the way if one does, and what would
/// do.
pub(crate) fn refused(wanted: usize, error: impl Into<io::Error>) -> String {
    let error = error.into();
    let limit = getrlimit(Resource::As).current.filter(|_| error.kind() == io::ErrorKind::OutOfMemory);
    describe(wanted as u64, &error, limit.zip(used()))
}

/// Returns how much this process has reserved: the first number in `/proc/self/statm`, which are pages (proc(5)).
fn used() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn describe(wanted: u64, error: &io::Error, limit_and_used: Option<(u64, u64)>) -> String {
    let gib = |bytes: u64| bytes as f64 / GIB;
    let mut text = format!("cannot reserve {:.1} GiB of address space for a driver's sandbox: {error}", gib(wanted));
    if let Some((limit, used)) = limit_and_used.filter(|(limit, used)| used + wanted > *limit) {
        text += &format!(
            ". This process may reserve {:.1} GiB in all (RLIMIT_AS, the shell's `ulimit -v`) and has {:.1}: allow {:.1} \
             (`ulimit -v {}`) or more, or no limit; what is reserved here is no memory that is used. Native levels and \
             `process` reserve none",
            gib(limit),
            gib(used),
            gib(used + wanted),
            (used + wanted).div_ceil(1024)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_stands_in_the_way_is_named_with_what_would_do() {
        let error = io::Error::from_raw_os_error(libc::ENOMEM);
        let said = describe(4 << 30, &error, Some((6 << 30, 3 << 30)));
        for part in ["4.0 GiB", "RLIMIT_AS", "6.0 GiB in all", "has 3.0", "`ulimit -v 7340032`"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let other = describe(4 << 30, &error, Some((64 << 30, 3 << 30)));
        assert!(!other.contains("RLIMIT_AS") && other.contains("4.0 GiB"), "it is not the limit: {other}");
        assert!(!describe(4 << 30, &error, None).contains("RLIMIT_AS"));
    }
}
