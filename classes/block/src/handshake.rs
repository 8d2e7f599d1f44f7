//! Answers to a client's options ("Option types" of the protocol): all of them at once, without state but whether
//! replies are structured.

use crate::export::Export;
use crate::protocol::{
    self, EXPORT_NAME_ZEROES, OPTION_MAGIC, SERVER_MAGIC, handshake, info, option, option_reply, put_option_reply,
};

const NO_SUCH_EXPORT: &str = "there is no export of this name; ask for a list, or for the default one";
const NO_TLS: &str = "this server does not speak TLS: put a tunnel in front of it (ssh, stunnel, WireGuard)";
const WRONG_DATA: &str = "the option's data is not of its form";

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another option.
    Option,
    /// Requests.
    Transmission,
    /// The end of the connection, once all is sent.
    End,
}

/// What client and server agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreed {
    /// Whether replies are structured.
    pub structured: bool,
    /// Whether no zeroes follow the answer to `NBD_OPT_EXPORT_NAME`.
    pub no_zeroes: bool,
}

/// Adds the greeting.
pub fn greet(out: &mut Vec<u8>) {
    out.extend(SERVER_MAGIC.to_be_bytes());
    out.extend(OPTION_MAGIC.to_be_bytes());
    out.extend((handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES).to_be_bytes());
}

/// Takes the client's flags; `None` if there are some that were not offered, or it does not have answers to options.
pub fn client_flags(flags: u32) -> Option<Agreed> {
    let known = u32::from(handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES);
    let answers = flags & u32::from(handshake::FIXED_NEWSTYLE) != 0;
    let no_zeroes = flags & u32::from(handshake::NO_ZEROES) != 0;
    (flags & !known == 0 && answers).then_some(Agreed { structured: false, no_zeroes })
}

/// Refuses an option whose data is longer than what is looked at.
pub fn refuse_too_big(option: u32, out: &mut Vec<u8>) {
    put_option_reply(out, option, option_reply::ERR_TOO_BIG, &[]);
}

/// Answers an option.
pub fn answer(export: &Export, agreed: &mut Agreed, option: u32, data: &[u8], out: &mut Vec<u8>) -> Next {
    let mut reply = |kind, parts: &[&[u8]]| put_option_reply(out, option, kind, parts);
    match option {
        option::EXPORT_NAME => {
            if !export.is_called(data) {
                return Next::End;
            }
            out.extend(export.bytes().to_be_bytes());
            out.extend(export.flags().to_be_bytes());
            if !agreed.no_zeroes {
                out.extend([0; EXPORT_NAME_ZEROES]);
            }
            return Next::Transmission;
        }
        option::ABORT => {
            reply(option_reply::ACK, &[]);
            return Next::End;
        }
        option::LIST if data.is_empty() => {
            let len = (export.name.len() as u32).to_be_bytes();
            reply(option_reply::SERVER, &[&len, export.name.as_bytes(), export.description.as_bytes()]);
            reply(option_reply::ACK, &[]);
        }
        option::STRUCTURED_REPLY if data.is_empty() => {
            agreed.structured = true;
            reply(option_reply::ACK, &[]);
        }
        option::LIST | option::STRUCTURED_REPLY => reply(option_reply::ERR_INVALID, &[WRONG_DATA.as_bytes()]),
        option::INFO | option::GO => {
            let Some((name, asked)) = protocol::info_request(data) else {
                reply(option_reply::ERR_INVALID, &[WRONG_DATA.as_bytes()]);
                return Next::Option;
            };
            if !export.is_called(name) {
                reply(option_reply::ERR_UNKNOWN, &[NO_SUCH_EXPORT.as_bytes()]);
                return Next::Option;
            }
            let sizes = export.sizes().map(u32::to_be_bytes);
            let (bytes, flags) = (export.bytes().to_be_bytes(), export.flags().to_be_bytes());
            let mut about = |kind: u16, parts: [&[u8]; 3]| {
                let kind = kind.to_be_bytes();
                reply(option_reply::INFO, &[&kind, parts[0], parts[1], parts[2]]);
            };
            about(info::EXPORT, [&bytes, &flags, &[]]);
            // Without being asked: a client that does not know it skips it.
            about(info::BLOCK_SIZE, [&sizes[0], &sizes[1], &sizes[2]]);
            if asked.contains(&info::NAME) {
                about(info::NAME, [export.name.as_bytes(), &[], &[]]);
            }
            if asked.contains(&info::DESCRIPTION) && !export.description.is_empty() {
                about(info::DESCRIPTION, [export.description.as_bytes(), &[], &[]]);
            }
            reply(option_reply::ACK, &[]);
            if option == option::GO {
                return Next::Transmission;
            }
        }
        // Nothing can be asked about blocks: a list of nothing.
        option::LIST_META_CONTEXT | option::SET_META_CONTEXT => match protocol::meta_request(data) {
            Some(name) if export.is_called(name) && agreed.structured => reply(option_reply::ACK, &[]),
            Some(name) if !export.is_called(name) => {
                reply(option_reply::ERR_UNKNOWN, &[NO_SUCH_EXPORT.as_bytes()]);
            }
            _ => reply(option_reply::ERR_INVALID, &[WRONG_DATA.as_bytes()]),
        },
        option::START_TLS => reply(option_reply::ERR_UNSUPPORTED, &[NO_TLS.as_bytes()]),
        _ => reply(option_reply::ERR_UNSUPPORTED, &[]),
    }
    Next::Option
}
