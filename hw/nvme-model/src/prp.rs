//! Where a command's data is: PRP entries and lists (section 4.1.1).

use nook_bus::Reach;
use nvme_regs::{PAGE_BYTES, status};

const PAGE: u64 = PAGE_BYTES as u64;
/// Bytes of an entry.
const ENTRY: u64 = 8;

/// A piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) address: u64,
    pub(crate) len_bytes: usize,
}

/// Collects the pieces of `len_bytes` that a command's two entries describe; the status if they describe none.
pub(crate) fn pieces(reach: &mut Reach, [prp1, prp2]: [u64; 2], len_bytes: usize) -> Result<Vec<Piece>, u16> {
    if !prp1.is_multiple_of(4) {
        return Err(status::PRP_OFFSET);
    }
    let first = len_bytes.min((PAGE - prp1 % PAGE) as usize);
    let mut pieces = vec![Piece { address: prp1, len_bytes: first }];
    let left = len_bytes - first;
    if left > PAGE as usize {
        list(reach, prp2, left, &mut pieces)?;
    } else if left > 0 {
        whole_page(prp2)?;
        pieces.push(Piece { address: prp2, len_bytes: left });
    }
    Ok(pieces)
}

/// Only the first entry of a command may point into a page.
fn whole_page(address: u64) -> Result<(), u16> {
    if address.is_multiple_of(PAGE) { Ok(()) } else { Err(status::PRP_OFFSET | status::DO_NOT_RETRY) }
}

/// Walks a list; the last entry in its page leads to the next one if more follows than that entry.
fn list(reach: &mut Reach, list: u64, mut left: usize, pieces: &mut Vec<Piece>) -> Result<(), u16> {
    let mut at = list;
    if !at.is_multiple_of(ENTRY) {
        return Err(status::PRP_OFFSET | status::DO_NOT_RETRY);
    }
    while left > 0 {
        let entry = reach.load(at).ok_or(status::DATA_TRANSFER_ERROR)?;
        if at % PAGE == PAGE - ENTRY && left > PAGE as usize {
            whole_page(entry)?;
            at = entry;
            continue;
        }
        whole_page(entry)?;
        let len_bytes = left.min(PAGE as usize);
        pieces.push(Piece { address: entry, len_bytes });
        (left, at) = (left - len_bytes, at + ENTRY);
    }
    Ok(())
}

/// Reads a command's data from memory.
pub(crate) fn fetch(reach: &mut Reach, prps: [u64; 2], len_bytes: usize) -> Result<Vec<u8>, u16> {
    let pieces = pieces(reach, prps, len_bytes)?;
    let (mut data, mut at) = (vec![0; len_bytes], 0);
    for piece in pieces {
        if !reach.read(piece.address, &mut data[at..at + piece.len_bytes]) {
            return Err(status::DATA_TRANSFER_ERROR);
        }
        at += piece.len_bytes;
    }
    Ok(data)
}

/// Writes a command's data to memory.
pub(crate) fn store(reach: &mut Reach, prps: [u64; 2], data: &[u8]) -> Result<(), u16> {
    let mut at = 0;
    for piece in pieces(reach, prps, data.len())? {
        if !reach.write(piece.address, &data[at..at + piece.len_bytes]) {
            return Err(status::DATA_TRANSFER_ERROR);
        }
        at += piece.len_bytes;
    }
    Ok(())
}
