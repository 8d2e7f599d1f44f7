//! The model, driven by a driver of few lines.

mod cable;
mod dma;
mod interrupts;
mod link;
mod pause;
mod random;
mod receive;
mod registers;
mod rig;
mod transmit;
