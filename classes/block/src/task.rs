//! A client's request that has no reply yet, and its reply.

use nook_block_api::Op;
use nook_bus::VolatileSlice;

use crate::buffers::Outbox;
use crate::export::{Refusal, Work};
use crate::protocol::{
    CHUNK_HEADER_BYTES, SIMPLE_REPLY_BYTES, chunk, error, put_chunk, put_error_chunk, put_simple_reply,
};
use crate::session::Piece;

/// Bytes of a chunk of content before the content: its header, and where the content is from.
const CONTENT_HEADER_BYTES: usize = CHUNK_HEADER_BYTES + 8;

const SHORT_READ: Refusal = Refusal { error: error::EIO, message: "the disk returned less than was read" };

/// Where a reply belongs, and how it is made.
pub struct Replying<'a> {
    /// What is to be sent.
    pub out: &'a mut Outbox,
    /// Whether it is structured.
    pub structured: bool,
}

/// A request.
#[derive(Debug)]
pub struct Task {
    cookie: u64,
    /// What of it the disk was not asked for yet; of a write, all of it.
    pub work: Work,
    /// Pieces of it that the disk has or will have, and that are not completed.
    pub pieces: u32,
    /// Whether there will be more pieces.
    pub open: bool,
    refused: Option<Refusal>,
    /// First byte.
    start: u64,
    /// What a simple reply will hold, from when the disk is asked.
    gathered: Vec<u8>,
    /// Whether the last chunk of the reply is in the outbox.
    answered: bool,
}

impl Task {
    /// Begins one, or refuses it.
    pub fn new(cookie: u64, work: Work, refused: Option<Refusal>) -> Self {
        Task { cookie, work, pieces: 0, open: true, refused, start: work.at, gathered: Vec::new(), answered: false }
    }

    fn len(&self) -> usize {
        (self.work.end - self.start) as usize
    }

    /// Returns how many bytes its next piece of a read will need in the outbox that are not promised yet: of a simple
    /// reply all, with the first.
    pub fn promise(&self, len: u64, structured: bool) -> usize {
        match structured {
            true => CONTENT_HEADER_BYTES + len as usize,
            false if self.work.at == self.start => SIMPLE_REPLY_BYTES + self.len(),
            false => 0,
        }
    }

    /// Says that the disk is being asked for content.
    pub fn begin_reading(&mut self, structured: bool) {
        if !structured && self.gathered.is_empty() {
            self.gathered = vec![0; self.len()];
        }
    }

    /// Takes what became of a piece; returns how many of the promised bytes are not needed any more.
    pub fn completed(
        &mut self,
        piece: &Piece,
        outcome: Result<(), Refusal>,
        data: Option<&VolatileSlice<'_>>,
        replying: Replying<'_>,
    ) -> usize {
        self.pieces -= 1;
        let is_last = !self.open && self.pieces == 0;
        let is_read = piece.op == Op::Read;
        let outcome = outcome.and_then(|()| match data {
            Some(data) if is_read && data.len() as u64 != piece.len => Err(SHORT_READ),
            None if is_read => Err(SHORT_READ),
            _ => Ok(()),
        });
        if let Err(refusal) = outcome {
            self.refused.get_or_insert(refusal);
        }
        if !is_read {
            return 0;
        }
        let content = data.filter(|_| outcome.is_ok());
        if replying.structured {
            if let Some(content) = content {
                self.answered = is_last && self.refused.is_none();
                let flags = if self.answered { chunk::DONE } else { 0 };
                put_chunk(replying.out.end(), flags, chunk::OFFSET_DATA, self.cookie, 8 + piece.len as u32);
                replying.out.end().extend(piece.at.to_be_bytes());
                replying.out.push(content);
            }
            return CONTENT_HEADER_BYTES + piece.len as usize;
        }
        let place = (piece.at - self.start) as usize;
        if let (Some(content), Some(to)) = (content, self.gathered.get_mut(place..place + piece.len as usize)) {
            content.copy_to(to);
        }
        if is_last { SIMPLE_REPLY_BYTES + self.len() } else { 0 }
    }

    /// Adds the reply, or what is missing of it.
    pub fn reply(&mut self, replying: Replying<'_>) {
        let out = replying.out.end();
        match (self.refused, replying.structured) {
            _ if self.answered => {}
            (Some(Refusal { error, message }), true) => put_error_chunk(out, self.cookie, error, message),
            (Some(Refusal { error, .. }), false) => put_simple_reply(out, error, self.cookie),
            (None, true) => put_chunk(out, chunk::DONE, chunk::NONE, self.cookie, 0),
            (None, false) => {
                put_simple_reply(out, 0, self.cookie);
                out.append(&mut self.gathered);
            }
        }
    }
}

/// A client's tasks, by numbers that are used again.
#[derive(Debug, Default)]
pub struct Tasks {
    places: Vec<Option<Task>>,
    free: Vec<usize>,
}

impl Tasks {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn add(&mut self, task: Task) -> usize {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(task);
        place
    }

    pub fn get_mut(&mut self, place: usize) -> Option<&mut Task> {
        self.places.get_mut(place)?.as_mut()
    }

    pub fn remove(&mut self, place: usize) {
        if self.places.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }
}
