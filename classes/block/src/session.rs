//! One client's conversation, without its socket: bytes that came in become pieces of work for the disk, and what the
//! disk made of them becomes bytes to send. What is kept for a client is bounded (`limits`): at a bound nothing more is
//! taken in until the disk or the client has taken something off.

use std::collections::VecDeque;

use nook_block_api::Op;
use nook_bus::VolatileSlice;

use crate::buffers::{Inbox, Outbox};
use crate::export::{Export, Refusal, Work};
use crate::handshake::{self, Agreed, Next};
use crate::limits::{HELD_BYTES, INBOX_BYTES, OPTION_BYTES, REPLY_BYTES, REQUESTS};
use crate::protocol::{self, RequestHeader, command};
use crate::task::{Replying, Task, Tasks};

/// Buffers of writes that are kept to be used again.
const SPARE_BUFFERS: usize = 4;

/// A part of a request that the disk is asked for at once.
#[derive(Debug)]
pub struct Piece {
    /// The task that it is of.
    pub task: usize,
    /// What is asked.
    pub op: Op,
    /// First byte.
    pub at: u64,
    /// Bytes.
    pub len: u64,
    /// Whether it is done when it is on the medium.
    pub fua: bool,
    /// What is written.
    pub data: Option<Vec<u8>>,
}

/// What comes in next.
enum Phase {
    /// The client's flags.
    Flags,
    /// An option's header.
    Option,
    /// An option's data.
    OptionData { option: u32, len: usize },
    /// Data of an option that is too long.
    SkipOption { option: u32, left: u64 },
    /// A request's header.
    Request,
    /// Data of a write: the bytes still to come, and the piece that is being received.
    Payload { task: usize, at: u64, left: u64, piece: Option<Receiving> },
    /// Data of a write that is refused.
    Drain { task: usize, left: u64 },
    /// Nothing.
    Ended,
}

struct Receiving {
    bytes: Vec<u8>,
    have: usize,
}

/// Work that the disk was not asked for yet.
enum Waiting {
    /// A piece of a write, whose data is there.
    Data { task: usize, at: u64, bytes: Vec<u8> },
    /// The rest of a task without data.
    Rest { task: usize },
}

/// What is kept for a client, in bytes and in numbers.
#[cfg(test)]
#[derive(Debug)]
pub struct Kept {
    pub inbox: usize,
    pub held: usize,
    pub replies: usize,
    pub requests: usize,
    pub waiting: usize,
}

/// A client.
pub struct Session {
    inbox: Inbox,
    outbox: Outbox,
    phase: Phase,
    /// Whether what comes in next goes straight into the piece that is being received.
    direct: bool,
    agreed: Agreed,
    tasks: Tasks,
    waiting: VecDeque<Waiting>,
    /// Data of writes, from when a buffer for it is taken to when the disk has it.
    held: usize,
    /// Data of reads that the disk was asked for and that is not in the outbox yet.
    promised: usize,
    spare: Vec<Vec<u8>>,
    broken: Option<&'static str>,
}

impl Session {
    /// Begins one, with the greeting to be sent.
    pub fn new() -> Self {
        let mut outbox = Outbox::default();
        handshake::greet(outbox.end());
        Self::begin(outbox, Phase::Flags)
    }

    /// Begins one with the kernel, which has no handshake: what the disk is was set elsewhere, and replies are
    /// simple.
    pub fn of_kernel() -> Self {
        Self::begin(Outbox::default(), Phase::Request)
    }

    fn begin(outbox: Outbox, phase: Phase) -> Self {
        Session {
            inbox: Inbox::new(),
            outbox,
            phase,
            direct: false,
            agreed: Agreed::default(),
            tasks: Tasks::default(),
            waiting: VecDeque::new(),
            held: 0,
            promised: 0,
            spare: Vec::new(),
            broken: None,
        }
    }

    /// Returns where the next bytes of the client belong; `None` if a bound is reached, or no more are wanted.
    pub fn landing(&mut self) -> Option<&mut [u8]> {
        if matches!(self.phase, Phase::Ended) {
            return None;
        }
        // Much of one piece: without the way through the inbox.
        let is_much = |piece: &Receiving| piece.bytes.len() - piece.have >= INBOX_BYTES / 2;
        match &mut self.phase {
            Phase::Payload { piece: Some(piece), .. } if self.inbox.len() == 0 && is_much(piece) => {
                self.direct = true;
                Some(&mut piece.bytes[piece.have..])
            }
            _ => {
                self.direct = false;
                Some(self.inbox.room()).filter(|room| !room.is_empty())
            }
        }
    }

    /// Says how many bytes were put where [`landing`](Session::landing) said.
    pub fn landed(&mut self, len: usize, export: &Export) {
        match &mut self.phase {
            Phase::Payload { piece: Some(piece), .. } if self.direct => {
                piece.have = (piece.have + len).min(piece.bytes.len());
            }
            _ => self.inbox.added(len),
        }
        self.advance(export);
    }

    /// Says that no more bytes come. Replies are still sent.
    pub fn input_ended(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Payload { task, piece, .. } => {
                if let Some(piece) = piece {
                    self.held -= piece.bytes.len();
                }
                self.close(task);
            }
            Phase::Drain { task, .. } => self.close(task),
            _ => {}
        }
    }

    /// Returns what is to be sent.
    pub fn to_send(&self) -> &[u8] {
        self.outbox.to_send()
    }

    /// Says how much of it was sent.
    pub fn sent(&mut self, len: usize) {
        self.outbox.sent(len);
    }

    /// Returns whether the client is still in the handshake.
    pub fn is_in_handshake(&self) -> bool {
        matches!(self.phase, Phase::Flags | Phase::Option | Phase::OptionData { .. } | Phase::SkipOption { .. })
    }

    /// Returns why the connection is to be closed now, if it is: the client broke the protocol, or all is said.
    pub fn over(&self) -> Option<&'static str> {
        let all_said = matches!(self.phase, Phase::Ended) && self.tasks.is_empty() && self.outbox.is_empty();
        self.broken.or(all_said.then_some("it ended the connection"))
    }

    #[cfg(test)]
    pub fn kept(&self) -> Kept {
        Kept {
            inbox: self.inbox.len(),
            held: self.held,
            replies: self.outbox.len() + self.promised,
            requests: self.tasks.len(),
            waiting: self.waiting.len(),
        }
    }

    /// Returns what the disk is to be asked for next.
    pub fn next_piece(&mut self, export: &Export) -> Option<Piece> {
        self.advance(export);
        match self.waiting.pop_front()? {
            Waiting::Data { task, at, bytes } => {
                let its = self.tasks.get_mut(task)?;
                let (op, fua, len) = (its.work.op, its.work.fua, bytes.len() as u64);
                Some(Piece { task, op, at, len, fua, data: Some(bytes) })
            }
            Waiting::Rest { task } => self.next_of_rest(task, export),
        }
    }

    fn next_of_rest(&mut self, task: usize, export: &Export) -> Option<Piece> {
        let its = self.tasks.get_mut(task)?;
        let Work { op, at, end, fua } = its.work;
        let len = (end - at).min(export.piece_bytes(op));
        if op == Op::Read {
            let need = its.promise(len, self.agreed.structured);
            let taken = self.outbox.len() + self.promised;
            if need > 0 && taken > 0 && taken + need > REPLY_BYTES {
                self.waiting.push_front(Waiting::Rest { task });
                return None;
            }
            self.promised += need;
            its.begin_reading(self.agreed.structured);
        }
        its.pieces += 1;
        its.work.at += len;
        if its.work.at < end {
            // Behind the others: a long one does not hold them up.
            self.waiting.push_back(Waiting::Rest { task });
        } else {
            its.open = false;
        }
        Some(Piece { task, op, at, len, fua, data: None })
    }

    /// Takes a write's buffer, once the disk has its content.
    pub fn emptied(&mut self, buffer: Vec<u8>) {
        self.held -= buffer.len();
        if self.spare.len() < SPARE_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// Takes what the disk made of a piece; of a read its data, exactly as long as the piece.
    pub fn completed(&mut self, piece: &Piece, outcome: Result<(), Refusal>, data: Option<&VolatileSlice<'_>>) {
        let Some(task) = self.tasks.get_mut(piece.task) else { return };
        let replying = Replying { out: &mut self.outbox, structured: self.agreed.structured };
        self.promised -= task.completed(piece, outcome, data, replying);
        self.finish(piece.task);
    }

    /// Lets what was received become work, as far as there is room for it.
    fn advance(&mut self, export: &Export) {
        while self.outbox.len() < REPLY_BYTES && self.step(export) {}
    }

    /// Takes one message, or part of one; false if it is not there or finds no room.
    fn step(&mut self, export: &Export) -> bool {
        match self.phase {
            Phase::Flags => {
                let Some(flags) = self.inbox.take_array() else { return false };
                match handshake::client_flags(u32::from_be_bytes(flags)) {
                    Some(agreed) => {
                        self.agreed = agreed;
                        self.phase = Phase::Option;
                    }
                    None => self.break_off("its flags are not those of a client of the fixed newstyle handshake"),
                }
            }
            Phase::Option => {
                let Some(header) = self.inbox.take_array() else { return false };
                self.phase = match protocol::option_header(&header) {
                    Some((option, len)) if len as usize <= OPTION_BYTES => {
                        Phase::OptionData { option, len: len as usize }
                    }
                    Some((option, len)) => Phase::SkipOption { option, left: len.into() },
                    None => {
                        self.break_off("an option did not begin as one");
                        return true;
                    }
                };
            }
            Phase::OptionData { option, len } => {
                let Some(data) = self.inbox.take(len) else { return false };
                let next = handshake::answer(export, &mut self.agreed, option, data, self.outbox.end());
                self.phase = match next {
                    Next::Option => Phase::Option,
                    Next::Transmission => Phase::Request,
                    Next::End => Phase::Ended,
                };
            }
            Phase::SkipOption { option, left } => {
                let left = left - self.inbox.take_up_to(left).len() as u64;
                self.phase = Phase::SkipOption { option, left };
                if left > 0 {
                    return false;
                }
                handshake::refuse_too_big(option, self.outbox.end());
                self.phase = Phase::Option;
            }
            Phase::Request => {
                if self.tasks.len() >= REQUESTS {
                    return false;
                }
                let Some(header) = self.inbox.take_array() else { return false };
                match RequestHeader::from_bytes(&header) {
                    Some(header) => self.request(&header, export),
                    None => self.break_off("a request did not begin as one"),
                }
            }
            Phase::Payload { .. } => return self.receive(export),
            Phase::Drain { task, left } => {
                let left = left - self.inbox.take_up_to(left).len() as u64;
                self.phase = Phase::Drain { task, left };
                if left > 0 {
                    return false;
                }
                self.phase = Phase::Request;
                self.close(task);
            }
            Phase::Ended => return false,
        }
        true
    }

    fn request(&mut self, header: &RequestHeader, export: &Export) {
        if header.command == command::DISCONNECT {
            self.phase = Phase::Ended;
            return;
        }
        let work = export.work(header, self.agreed.structured);
        let left = u64::from(header.length);
        let is_write = header.command == command::WRITE;
        let refused = work.err();
        let nothing = Work { op: Op::Flush, at: 0, end: 0, fua: false };
        let work = work.unwrap_or(nothing);
        let is_empty = work.op != Op::Flush && work.at == work.end;
        let task = self.tasks.add(Task::new(header.cookie, work, refused));
        match (is_write, refused) {
            (true, Some(_)) => self.phase = Phase::Drain { task, left },
            (true, None) => self.phase = Phase::Payload { task, at: work.at, left, piece: None },
            (false, Some(_)) => self.close(task),
            (false, None) if is_empty => self.close(task),
            (false, None) => self.waiting.push_back(Waiting::Rest { task }),
        }
    }

    /// Takes data of a write into its piece.
    fn receive(&mut self, export: &Export) -> bool {
        let Phase::Payload { task, at, left, piece } = &mut self.phase else { return false };
        let receiving = match piece {
            Some(receiving) => receiving,
            None => {
                let len = (*left).min(export.piece_bytes(Op::Write)) as usize;
                if self.held + len > HELD_BYTES {
                    return false;
                }
                self.held += len;
                let mut bytes = self.spare.pop().unwrap_or_default();
                bytes.resize(len, 0);
                piece.insert(Receiving { bytes, have: 0 })
            }
        };
        let missing = &mut receiving.bytes[receiving.have..];
        let come = self.inbox.take_up_to(missing.len() as u64);
        missing[..come.len()].copy_from_slice(come);
        receiving.have += come.len();
        if receiving.have < receiving.bytes.len() {
            return false;
        }
        let (task, from) = (*task, *at);
        let bytes = std::mem::take(&mut receiving.bytes);
        *piece = None;
        *at += bytes.len() as u64;
        *left -= bytes.len() as u64;
        let all = *left == 0;
        self.waiting.push_back(Waiting::Data { task, at: from, bytes });
        if all {
            self.phase = Phase::Request;
        }
        if let Some(task) = self.tasks.get_mut(task) {
            task.pieces += 1;
            task.open = !all;
        }
        true
    }

    /// Says that a task has no more pieces.
    fn close(&mut self, task: usize) {
        if let Some(task) = self.tasks.get_mut(task) {
            task.open = false;
        }
        self.finish(task);
    }

    /// Answers a task that is done.
    fn finish(&mut self, task: usize) {
        let Some(its) = self.tasks.get_mut(task) else { return };
        if its.open || its.pieces > 0 {
            return;
        }
        its.reply(Replying { out: &mut self.outbox, structured: self.agreed.structured });
        self.tasks.remove(task);
    }

    fn break_off(&mut self, why: &'static str) {
        self.broken = Some(why);
        self.phase = Phase::Ended;
    }
}
