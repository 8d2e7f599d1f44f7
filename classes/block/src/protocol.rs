//! The NBD protocol's numbers and messages, as bytes: doc/proto.md of the NBD project, whose sections are named here.
//! Everything is big-endian ("Conventions"). There is no state and no socket here.

/// The server's first word ("Newstyle negotiation").
pub const SERVER_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Its second word, and the first word of each option of a client ("Newstyle negotiation").
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
/// The first word of each answer to an option ("Fixed newstyle negotiation").
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// The first word of a request ("Request message").
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// The first word of a simple reply ("Simple reply message").
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// The first word of a chunk of a structured reply ("Structured reply chunk message").
pub const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Flags that the server sends in its greeting, and a client confirms ("Handshake flags", "Client flags").
pub mod handshake {
    /// Options are answered (`NBD_FLAG_FIXED_NEWSTYLE`).
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No zeroes after the answer to [`EXPORT_NAME`](super::option::EXPORT_NAME) (`NBD_FLAG_NO_ZEROES`).
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// What an export offers ("Transmission flags").
pub mod export {
    /// Must be set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// It cannot be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// It takes [`command::FLUSH`](super::command::FLUSH).
    pub const FLUSH: u16 = 1 << 2;
    /// It takes [`command_flag::FUA`](super::command_flag::FUA).
    pub const FUA: u16 = 1 << 3;
    /// It takes [`command::TRIM`](super::command::TRIM).
    pub const TRIM: u16 = 1 << 5;
    /// It takes [`command::WRITE_ZEROES`](super::command::WRITE_ZEROES).
    pub const WRITE_ZEROES: u16 = 1 << 6;
    /// A flush on one connection covers what was answered on any.
    pub const MULTI_CONNECTION: u16 = 1 << 8;
    /// It takes [`command_flag::FAST_ZERO`](super::command_flag::FAST_ZERO).
    pub const FAST_ZERO: u16 = 1 << 11;
}

/// What a client asks before it reads and writes ("Option types").
pub mod option {
    /// Choose an export and begin; an error ends the connection.
    pub const EXPORT_NAME: u32 = 1;
    /// End the connection.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Begin TLS.
    pub const START_TLS: u32 = 5;
    /// Ask about an export.
    pub const INFO: u32 = 6;
    /// Choose an export and begin.
    pub const GO: u32 = 7;
    /// Have structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List what can be asked about blocks.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Choose what will be asked about blocks.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// How an option is answered ("Option reply types").
pub mod option_reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// An export's name and description.
    pub const SERVER: u32 = 2;
    /// Information about an export; see [`info`](super::info).
    pub const INFO: u32 = 3;
    /// Not known here.
    pub const ERR_UNSUPPORTED: u32 = (1 << 31) + 1;
    /// The option's data is no such option's.
    pub const ERR_INVALID: u32 = (1 << 31) + 3;
    /// There is no such export.
    pub const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    /// Longer than is read here.
    pub const ERR_TOO_BIG: u32 = (1 << 31) + 9;
}

/// What is said about an export (`NBD_REP_INFO` in "Option reply types").
pub mod info {
    /// Size and flags.
    pub const EXPORT: u16 = 0;
    /// Its name.
    pub const NAME: u16 = 1;
    /// Its description.
    pub const DESCRIPTION: u16 = 2;
    /// Its block sizes.
    pub const BLOCK_SIZE: u16 = 3;
}

/// What a client asks for ("Request types").
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// End the connection once all is answered; has no reply.
    pub const DISCONNECT: u16 = 2;
    /// Bring to the medium what was answered.
    pub const FLUSH: u16 = 3;
    /// The content is not needed any more.
    pub const TRIM: u16 = 4;
    /// Write zeroes, without data.
    pub const WRITE_ZEROES: u16 = 6;
}

/// How ("Command flags").
pub mod command_flag {
    /// Answer when it is on the medium; to be taken with every command.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes must have room on the medium.
    pub const NO_HOLE: u16 = 1 << 1;
    /// Zeroes only if that is faster than a write.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Chunks of a structured reply ("Structured reply types", "Structured reply flags").
pub mod chunk {
    /// The flag of the last chunk of a reply.
    pub const DONE: u16 = 1 << 0;
    /// Nothing but the end of a reply.
    pub const NONE: u16 = 0;
    /// Content, after its offset.
    pub const OFFSET_DATA: u16 = 1;
    /// An error, with a message.
    pub const ERROR: u16 = (1 << 15) + 1;
}

/// Errors of requests ("Error values").
pub mod error {
    /// The export is read-only.
    pub const EPERM: u32 = 1;
    /// The medium failed.
    pub const EIO: u32 = 5;
    /// Not a request that could be made.
    pub const EINVAL: u32 = 22;
    /// A write beyond the end, or no room.
    pub const ENOSPC: u32 = 28;
}

/// The longest string ("Conventions").
pub const LONGEST_STRING: usize = 4096;
/// Bytes of a request's header ("Request message").
pub const REQUEST_BYTES: usize = 28;
/// Bytes before an option's data ("Newstyle negotiation").
pub const OPTION_HEADER_BYTES: usize = 16;
/// Bytes of a simple reply before its data ("Simple reply message").
pub const SIMPLE_REPLY_BYTES: usize = 16;
/// Bytes of a chunk before its payload ("Structured reply chunk message").
pub const CHUNK_HEADER_BYTES: usize = 20;
/// Zeroes after the answer to `NBD_OPT_EXPORT_NAME` ("Newstyle negotiation").
pub const EXPORT_NAME_ZEROES: usize = 124;

/// A request's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Of [`command_flag`].
    pub flags: u16,
    /// Of [`command`].
    pub command: u16,
    /// What the reply is recognised by.
    pub cookie: u64,
    /// First byte of the export.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl RequestHeader {
    /// Reads one; `None` if it does not begin as one.
    pub fn from_bytes(bytes: &[u8; REQUEST_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.u32()? != REQUEST_MAGIC {
            return None;
        }
        Some(RequestHeader {
            flags: fields.u16()?,
            command: fields.u16()?,
            cookie: fields.u64()?,
            offset: fields.u64()?,
            length: fields.u32()?,
        })
    }
}

/// An option's header: option and length of its data; `None` if it does not begin as one.
pub fn option_header(bytes: &[u8; OPTION_HEADER_BYTES]) -> Option<(u32, u32)> {
    let mut fields = Fields(bytes);
    if fields.u64()? != OPTION_MAGIC {
        return None;
    }
    Some((fields.u32()?, fields.u32()?))
}

/// The data of `NBD_OPT_INFO` and `NBD_OPT_GO`: an export's name, and what is asked about it; `None` if lengths do not
/// agree.
pub fn info_request(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let mut fields = Fields(data);
    let len = fields.u32()? as usize;
    let name = fields.bytes(len)?;
    let count = fields.u16()? as usize;
    if name.len() > LONGEST_STRING || fields.0.len() != 2 * count {
        return None;
    }
    let asked = fields.0.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    Some((name, asked.collect()))
}

/// Whether this is data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`: an export's name, which is
/// returned, and queries.
pub fn meta_request(data: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(data);
    let len = fields.u32()? as usize;
    let name = fields.bytes(len)?;
    for _ in 0..fields.u32()? {
        let len = fields.u32()? as usize;
        fields.bytes(len)?;
    }
    fields.0.is_empty().then_some(name)
}

/// Adds an answer to an option.
pub fn put_option_reply(out: &mut Vec<u8>, option: u32, kind: u32, data: &[&[u8]]) {
    let len: usize = data.iter().map(|part| part.len()).sum();
    out.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    out.extend(option.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend((len as u32).to_be_bytes());
    out.extend(data.iter().copied().flatten());
}

/// Adds a simple reply, without data.
pub fn put_simple_reply(out: &mut Vec<u8>, error: u32, cookie: u64) {
    out.extend(SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.extend(error.to_be_bytes());
    out.extend(cookie.to_be_bytes());
}

/// Adds a chunk's header; the payload follows.
pub fn put_chunk(out: &mut Vec<u8>, flags: u16, kind: u16, cookie: u64, payload: u32) {
    out.extend(CHUNK_MAGIC.to_be_bytes());
    out.extend(flags.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend(cookie.to_be_bytes());
    out.extend(payload.to_be_bytes());
}

/// Adds an error chunk that ends its reply.
pub fn put_error_chunk(out: &mut Vec<u8>, cookie: u64, error: u32, message: &str) {
    put_chunk(out, chunk::DONE, chunk::ERROR, cookie, 6 + message.len() as u32);
    out.extend(error.to_be_bytes());
    out.extend((message.len() as u16).to_be_bytes());
    out.extend(message.as_bytes());
}

/// Numbers that follow each other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
