//! The rewritings at work: what they made is run, and undone, by the runtime's own code.

pub(crate) mod anywhere;
pub(crate) mod author;
mod basics;
mod driver;
mod properties;
mod recording;
mod time;
