//! How events are written down: numbers of seven bits a byte, lowest first, the highest bit of each but the last set
//! (LEB128), and texts and bytes with their length before them. What is read is taken from the front of `bytes`;
//! nothing, if it is not there.

use nook_abi::{HOSTCALLS, Hostcall};

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes, or a text's.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the kind of an event, the number of what was called, and arguments.
pub fn put_call(out: &mut Vec<u8>, kind: u8, number: u8, args: &[u64]) {
    out.extend([kind, number]);
    args.iter().for_each(|&arg| put(out, arg));
}

/// Appends a hostcall of the kind `called`, or `refused`, by what came of it.
pub fn put_hostcall<S: AsRef<str>>(
    out: &mut Vec<u8>,
    [called, refused]: [u8; 2],
    call: Hostcall,
    args: &[u64; 3],
    outcome: &Result<u64, S>,
) {
    let kind = if outcome.is_ok() { called } else { refused };
    put_call(out, kind, call as u8, &args[..call.info().args.len()]);
    match outcome {
        Ok(result) => put(out, *result),
        Err(why) => put_bytes(out, why.as_ref().as_bytes()),
    }
}

/// Takes a hostcall behind its kind, which says whether it was refused.
pub fn hostcall(bytes: &mut &[u8], is_refused: bool) -> Option<(Hostcall, [u64; 3], Result<u64, String>)> {
    let row = HOSTCALLS.get(usize::from(byte(bytes)?))?;
    let args = arguments(bytes, row.args.len())?;
    let outcome = if is_refused { Err(text(bytes)?) } else { Ok(number(bytes)?) };
    Some((row.call, args, outcome))
}

/// Takes a byte.
pub fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

/// Takes a number.
pub fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let next = byte(bytes)?;
        let part = u64::from(next & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if next & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Takes bytes.
pub fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(number(bytes)?).ok()?;
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a text.
pub fn text(bytes: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_bytes(bytes)?.to_vec()).ok()
}

/// Takes `count` arguments.
pub fn arguments(bytes: &mut &[u8], count: usize) -> Option<[u64; 3]> {
    let mut args = [0; 3];
    for arg in args.get_mut(..count)? {
        *arg = number(bytes)?;
    }
    Some(args)
}
