//! A cable whose far end is in the test's hand.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use nook_net_api::Wire;

#[derive(Default)]
struct State {
    to_device: VecDeque<Vec<u8>>,
    from_device: Vec<Vec<u8>>,
    unplugged: bool,
    broken: bool,
}

/// The far end; clones are the same cable.
#[derive(Clone, Default)]
pub struct Cable(Arc<Mutex<State>>);

impl Cable {
    pub fn push(&self, frame: Vec<u8>) {
        self.0.lock().unwrap().to_device.push_back(frame);
    }

    /// Returns everything that the device sent since the last call.
    pub fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap().from_device)
    }

    pub fn plug(&self, plugged: bool) {
        self.0.lock().unwrap().unplugged = !plugged;
    }

    pub fn break_it(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }

    /// Frames that the device has not taken yet.
    pub fn waiting(&self) -> usize {
        self.0.lock().unwrap().to_device.len()
    }
}

impl Wire for Cable {
    fn send(&mut self, frame: &[u8]) -> io::Result<bool> {
        let mut state = self.0.lock().unwrap();
        if state.broken {
            return Err(io::Error::other("torn"));
        }
        state.from_device.push(frame.to_vec());
        Ok(true)
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = self.0.lock().unwrap();
        if state.broken {
            return Err(io::Error::other("torn"));
        }
        Ok(state.to_device.pop_front().map(|frame| {
            let len = frame.len().min(buffer.len());
            buffer[..len].copy_from_slice(&frame[..len]);
            len
        }))
    }

    fn carrier(&self) -> bool {
        !self.0.lock().unwrap().unplugged
    }
}
