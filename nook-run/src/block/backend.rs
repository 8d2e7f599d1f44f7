//! What a run's disk is plugged into.

use std::io;
use std::os::fd::RawFd;

use nook_block::NbdServer;
use nook_block_api::{BlockBackend, Geometry, Outcome, Request};
use nook_bus::VolatileSlice;

use super::exercise::Exercise;

/// One of those.
pub enum Backend {
    /// Nothing: nobody asks.
    Nothing,
    /// The exercise.
    Exercise(Box<Exercise>),
    /// A server, whose clients ask.
    Nbd(Box<NbdServer>),
}

impl Backend {
    /// Returns the exercise, if it is one.
    pub fn exercise(&self) -> Option<&Exercise> {
        match self {
            Backend::Exercise(exercise) => Some(exercise),
            Backend::Nothing | Backend::Nbd(_) => None,
        }
    }

    /// Returns the server, if it is one.
    pub fn server(&self) -> Option<&NbdServer> {
        match self {
            Backend::Nbd(server) => Some(server),
            Backend::Nothing | Backend::Exercise(_) => None,
        }
    }

    /// Begins to let go of the kernel's device, if it is one that is served, and returns whether that is over.
    pub fn let_go(&mut self) -> bool {
        match self {
            Backend::Nbd(server) => server.let_go(),
            Backend::Nothing | Backend::Exercise(_) => true,
        }
    }

    fn inner(&mut self) -> Option<&mut dyn BlockBackend> {
        match self {
            Backend::Exercise(exercise) => Some(&mut **exercise),
            Backend::Nbd(server) => Some(&mut **server),
            Backend::Nothing => None,
        }
    }
}

impl BlockBackend for Backend {
    fn attach(&mut self, geometry: &Geometry) -> io::Result<()> {
        let Geometry { block_bytes, blocks, serial, .. } = geometry;
        let mib = geometry.len_bytes() >> 20;
        tracing::info!("the disk has {blocks} blocks of {block_bytes} bytes, {mib} MiB; serial number `{serial}`");
        self.inner().map_or(Ok(()), |inner| inner.attach(geometry))
    }

    fn next(&mut self) -> io::Result<Option<Request>> {
        self.inner().map_or(Ok(None), |inner| inner.next())
    }

    fn fill(&mut self, id: u64, buffer: VolatileSlice<'_>) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.fill(id, buffer))
    }

    fn complete(&mut self, id: u64, outcome: Outcome, data: Option<VolatileSlice<'_>>) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.complete(id, outcome, data))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.flush())
    }

    fn detach(&mut self) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.detach())
    }

    fn service(&mut self, now_ns: u64) -> io::Result<Option<u64>> {
        self.inner().map_or(Ok(None), |inner| inner.service(now_ns))
    }

    fn event_fds(&self, fds: &mut Vec<RawFd>) {
        match self {
            Backend::Exercise(exercise) => exercise.event_fds(fds),
            Backend::Nbd(server) => server.event_fds(fds),
            Backend::Nothing => {}
        }
    }
}
