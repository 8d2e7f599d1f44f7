//! The hostcall of the class.

use nook_abi::block::{BlockFault, BlockKeys, Disk, disk_flags};
use nook_abi::{Entry, Fault, Hostcall};

use super::Port;
use crate::Host;
use crate::serve::bad;

/// Serves it; see [`Services`](crate::Services).
pub(crate) struct Hostcalls;

impl Hostcalls {
    pub(crate) fn block_attach(host: &mut Host, len_bytes: u32) -> Result<i32, Fault> {
        let call = Hostcall::BlockAttach;
        if host.call.budget.entry() != Entry::Probe {
            return Err(bad(call, "mailbox", 0, "the disk is attached in `probe`"));
        }
        // A later version may have a longer one, and will go on taking this.
        if len_bytes as usize != Disk::BYTES {
            return Err(bad(call, "len_bytes", len_bytes.into(), "not the length of a `Disk`"));
        }
        let bytes = host.mailed(Disk::BYTES).try_into();
        let bytes: [u8; Disk::BYTES] = bytes.map_err(|_| bad(call, "mailbox", 0, "there is no mailbox"))?;
        let disk = Disk::from_bytes(&bytes);
        if let Some((field, value, rule)) = disk.broken_rule() {
            return Err(bad(call, field, value, rule));
        }
        let room_bytes = BlockKeys::of(&host.manifest).unwrap_or_default().transfer_bytes;
        let port = Port::of(host, call)?;
        if port.disk.is_some() {
            return Err(bad(call, "mailbox", 0, "the disk is attached already"));
        }
        if disk.block_bytes > room_bytes {
            let rule = "a block is larger than the manifest's transfer_bytes";
            return Err(bad(call, "block_bytes", disk.block_bytes.into(), rule));
        }
        if let Some((field, before, now)) = port.first.and_then(|first| difference(&first, &disk)) {
            return Err(BlockFault::DiskChanged { field, before, now }.into());
        }
        port.first = Some(disk);
        port.disk = Some(disk);
        Ok(0)
    }
}

/// Returns the first field in which two disks differ, and what each has there; of the serial number its first bytes.
/// One that takes no more writes, as at the end of its life, or takes them again is the same disk.
fn difference(before: &Disk, now: &Disk) -> Option<(&'static str, u64, u64)> {
    let [before, now] = [before, now].map(|disk| Disk { flags: disk.flags & !disk_flags::READ_ONLY, ..*disk });
    let (before, now) = (&before, &now);
    let fields = |disk: &Disk| {
        let serial = disk.serial.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        [
            ("blocks", disk.blocks),
            ("block_bytes", disk.block_bytes.into()),
            ("max_blocks", disk.max_blocks.into()),
            ("max_zeroes", disk.max_zeroes.into()),
            ("flags", disk.flags.into()),
            ("serial", serial),
        ]
    };
    let differs = fields(before).into_iter().zip(fields(now)).find(|(before, now)| before != now);
    let rest = (before != now).then_some(("serial", 0, 0));
    differs.map(|((field, before), (_, now))| (field, before, now)).or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_writes_no_more_or_again_is_the_same_one_and_a_longer_one_is_not() {
        let disk = Disk { blocks: 64, block_bytes: 512, ..Disk::default() };
        let read_only = Disk { flags: disk_flags::READ_ONLY, ..disk };
        assert_eq!(difference(&disk, &read_only).or(difference(&read_only, &disk)), None);
        assert_eq!(difference(&disk, &Disk { blocks: 65, ..read_only }), Some(("blocks", 64, 65)));
        assert_eq!(difference(&disk, &Disk { flags: disk_flags::FUA, ..disk }).map(|it| it.0), Some("flags"));
    }
}
