//! A cable that is plugged into nothing.

use std::io;

use nook_net_api::Wire;

/// No link partner: nothing arrives, and what is sent is lost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unplugged;

impl Wire for Unplugged {
    fn send(&mut self, _frame: &[u8]) -> io::Result<bool> {
        Ok(false)
    }

    fn recv(&mut self, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn carrier(&self) -> bool {
        false
    }
}
