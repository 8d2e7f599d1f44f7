//! A client of an NBD server, as far as tests need one: fixed newstyle, simple replies, many requests at a time.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nook_block_api::Op;

use super::BLOCK_BYTES;

const SERVER_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// Fixed newstyle, and no zeroes.
const CLIENT_FLAGS: u32 = 3;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const FUA: u16 = 1;
/// A busy machine, and drivers that restart, take their time.
const PATIENCE: Duration = Duration::from_secs(120);
/// A cookie holds the request's number, and below it the blocks that its reply brings.
const COOKIE_BLOCKS: u32 = 12;

/// A request's reply.
#[derive(Debug)]
pub(super) struct Reply {
    /// The request's number.
    pub number: u64,
    /// 0 is done.
    pub error: u32,
    /// What a read has read.
    pub data: Vec<u8>,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub number: u64,
    pub op: Op,
    pub first: u64,
    pub blocks: u64,
    pub fua: bool,
    pub data: &'a [u8],
}

fn other(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

fn array<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Connects to the default export of a server; and how many blocks it has.
pub(super) fn connect(socket: &Path) -> Result<(UnixStream, u64)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let greeting = [u64::from_be_bytes(array(&mut stream)?), u64::from_be_bytes(array(&mut stream)?)];
    let _flags: [u8; 2] = array(&mut stream)?;
    if greeting != [SERVER_MAGIC, OPTION_MAGIC] {
        return Err(other(format!("an NBD server greets otherwise than {greeting:x?}")));
    }
    // The default export, and nothing is asked about it.
    let mut go = CLIENT_FLAGS.to_be_bytes().to_vec();
    go.extend(OPTION_MAGIC.to_be_bytes());
    go.extend([OPTION_GO.to_be_bytes(), 6u32.to_be_bytes(), [0; 4]].concat());
    go.extend([0; 2]);
    stream.write_all(&go)?;
    let mut blocks = 0;
    loop {
        let (magic, _option) = (u64::from_be_bytes(array(&mut stream)?), array::<4>(&mut stream)?);
        let [kind, len] = [u32::from_be_bytes(array(&mut stream)?), u32::from_be_bytes(array(&mut stream)?)];
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match (magic, kind) {
            (OPTION_REPLY_MAGIC, REPLY_ACK) => return Ok((stream, blocks)),
            // The export's size follows the kind of information, which is 0.
            (OPTION_REPLY_MAGIC, REPLY_INFO) => {
                if let [0, 0, size @ ..] = &data[..]
                    && let Some(size) = size.first_chunk()
                {
                    blocks = u64::from_be_bytes(*size) / BLOCK_BYTES as u64;
                }
            }
            _ => return Err(other(format!("the export is refused: {magic:#x}, {kind:#x}"))),
        }
    }
}

/// Sends a request.
pub(super) fn send(stream: &mut UnixStream, request: &Request<'_>) -> Result<()> {
    let Request { number, op, first, blocks, fua, data } = *request;
    let command: u16 = match op {
        Op::Read => 0,
        Op::Write => 1,
        Op::Flush => 3,
        Op::Discard => 4,
        Op::WriteZeroes => 6,
    };
    let brings = if op == Op::Read { blocks } else { 0 };
    let flags = if fua { FUA } else { 0 };
    let mut bytes = Vec::with_capacity(28 + data.len());
    bytes.extend(REQUEST_MAGIC.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend((number << COOKIE_BLOCKS | brings).to_be_bytes());
    bytes.extend((first * BLOCK_BYTES as u64).to_be_bytes());
    bytes.extend((blocks as u32 * BLOCK_BYTES as u32).to_be_bytes());
    bytes.extend(data);
    stream.write_all(&bytes)
}

/// Receives a reply; `None` at the end of the connection.
pub(super) fn receive(stream: &mut impl Read) -> Result<Option<Reply>> {
    let mut head = [0; 16];
    if stream.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..])?;
    let [a, b, c, d] = [0, 4, 8, 12].map(|at| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    if a != REPLY_MAGIC {
        return Err(other(format!("a reply begins otherwise than {a:#x}")));
    }
    let cookie = u64::from(c) << 32 | u64::from(d);
    let blocks = cookie & ((1 << COOKIE_BLOCKS) - 1);
    let mut data = vec![0; if b == 0 { blocks as usize * BLOCK_BYTES } else { 0 }];
    stream.read_exact(&mut data)?;
    Ok(Some(Reply { number: cookie >> COOKIE_BLOCKS, error: b, data }))
}
