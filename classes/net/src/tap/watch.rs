//! When the kernel is asked what an interface is set to: after each message about interfaces, and at intervals, because
//! some things change without one.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;

use super::device::Device;
use super::rtnetlink::{Link, State};

/// How often it is asked if no message comes.
const ASK_NS: u64 = 250_000_000;

/// How often messages are looked for while there is no wait that would end with one.
const LOOK_NS: u64 = 10_000_000;

/// Follows what an interface is set to.
pub(super) struct Watch {
    link: Option<Link>,
    state: Option<State>,
    looked_ns: u64,
    asked_ns: u64,
    /// There was a wait, which a message may have ended.
    waited: Cell<bool>,
}

impl Watch {
    /// Begins to follow the interface; the log says if that cannot be.
    pub(super) fn new(device: &Device, name: &str) -> Watch {
        let mut watch = Watch { link: None, state: None, looked_ns: 0, asked_ns: 0, waited: Cell::new(false) };
        watch.find(device, name);
        watch
    }

    /// Returns what the interface was set to when the kernel was last asked; none if it does not say.
    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Notes an address that this program has set.
    pub(super) fn note_mac(&mut self, mac: [u8; 6]) {
        if let Some(state) = &mut self.state {
            state.mac = Some(mac);
        }
    }

    /// Returns when [`look`](Self::look) has something to do at the latest.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.link.as_ref().map(|_| self.asked_ns.saturating_add(ASK_NS))
    }

    /// Adds the descriptor that ends a wait when something changes.
    pub(super) fn event_fds(&self, fds: &mut Vec<RawFd>) {
        if let Some(link) = &self.link {
            self.waited.set(true);
            fds.push(link.event_fd());
        }
    }

    /// Asks the kernel, if there is a reason to. Returns whether something changed.
    #[inline]
    pub(super) fn look(&mut self, device: &Device, name: &str, now_ns: u64) -> bool {
        let waited = self.waited.take();
        if self.link.is_none() || !waited && now_ns < self.looked_ns.saturating_add(LOOK_NS) {
            return false;
        }
        self.looked_ns = now_ns;
        self.look_now(device, name, now_ns)
    }

    fn look_now(&mut self, device: &Device, name: &str, now_ns: u64) -> bool {
        let happened = self.link.as_ref().is_some_and(Link::happened);
        if !happened && now_ns < self.asked_ns.saturating_add(ASK_NS) {
            return false;
        }
        self.asked_ns = now_ns;
        self.ask(device, name)
    }

    /// Asks the kernel now. Returns whether something changed.
    pub(super) fn ask(&mut self, device: &Device, name: &str) -> bool {
        let Some(link) = &self.link else { return false };
        let error = match link.ask() {
            Ok(state) => return self.take(state),
            Err(error) => error,
        };
        if error.raw_os_error() == Some(libc::ENODEV) {
            // It may have been moved to another namespace.
            self.find(device, name);
            if let Some(Ok(state)) = self.link.as_ref().map(Link::ask) {
                return self.take(state);
            }
        }
        self.give_up(name, &error)
    }

    fn take(&mut self, state: State) -> bool {
        let changed = self.state.as_ref() != Some(&state);
        self.state = Some(state);
        changed
    }

    fn find(&mut self, device: &Device, name: &str) {
        match Link::find(device) {
            Ok(link) => self.link = Some(link),
            Err(error) => {
                self.give_up(name, &error);
            }
        }
    }

    /// Ends the following. Returns whether that changes something.
    #[cold]
    fn give_up(&mut self, name: &str, error: &io::Error) -> bool {
        let followed = self.link.take().is_some() || self.state.is_none();
        // Of one that was removed, reading has to tell.
        if followed && error.raw_os_error() != Some(libc::EBADFD) {
            tracing::warn!("{name}: what is set on the interface cannot be followed: {error}");
        }
        self.state.take().is_some()
    }

    /// Sets the MTU back.
    ///
    /// # Errors
    /// If that is not allowed.
    pub(super) fn set_mtu(&mut self, mtu_bytes: u32) -> io::Result<()> {
        match &self.link {
            Some(link) => link.set_mtu(mtu_bytes),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
