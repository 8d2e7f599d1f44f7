//! Running a driver against a recording.

use std::collections::{HashMap, HashSet, VecDeque};

use nook_abi::{Addr, Entry, Fault, Hostcall};

use super::player::put;
use super::{Bytes, GlobalValue, HowLeft, Recorded};
use crate::call_trace::Word;
use crate::{Caller, Driver, Host, Image, Launcher};

/// The first thing that was otherwise than in the recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In a call of this entry.
    pub entry: Entry,
    /// What the recording has there, if that can be said.
    pub recorded: Option<Found>,
    /// What the driver did.
    pub found: Found,
}

/// What a driver did, or would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It called the host.
    Call {
        /// Which hostcall.
        call: Hostcall,
        /// Its arguments, in the table's order.
        args: [u64; 3],
    },
    /// It loaded from memory that it shares.
    Load {
        /// From where.
        addr: u64,
        /// How much.
        len_bytes: u64,
    },
    /// Its call returned this.
    Returned(u64),
    /// Its call ended in this fault, in words.
    Faulted(String),
    /// This many loads from memory that it shares, in the call.
    Loads(u64),
    /// Something else in memory that it shares, or in another order.
    StoredOtherwise,
}

impl From<HowLeft<'_>> for Found {
    fn from(how: HowLeft<'_>) -> Self {
        match how {
            HowLeft::Returned(result) => Found::Returned(result),
            HowLeft::Faulted(text) | HowLeft::Cut(text) => Found::Faulted(text.into_owned()),
        }
    }
}

impl From<Recorded<'_>> for Found {
    fn from(event: Recorded<'_>) -> Self {
        match event {
            Recorded::Called { call, args, .. } => Found::Call { call, args },
            Recorded::Loaded { bytes: (addr, bytes), .. } => Found::Load { addr, len_bytes: bytes.len() as u64 },
            Recorded::Left { how, .. } => how.into(),
            // Nothing else is in a call.
            _ => Found::StoredOtherwise,
        }
    }
}

/// What was run again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Instances that began.
    pub instances: u64,
    /// Calls of the driver.
    pub calls: u64,
    /// Its hostcalls.
    pub hostcalls: u64,
    /// Calls that were undone.
    pub rollbacks: u64,
    /// Snapshots that it went on from.
    pub restores: u64,
    /// The time in the host page in the last call, in nanoseconds of the nook's clock.
    pub told_ns: u64,
    /// How the last call ended, if it faulted, as it had in the recorded run.
    pub fault: Option<Faulted>,
}

/// A call that faulted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faulted {
    /// Which entry was called.
    pub entry: Entry,
    /// The fault, in words.
    pub text: String,
    /// Where it was in the driver, innermost first, if its code was running.
    pub callers: Vec<Caller>,
}

/// Why it went no further.
#[derive(Debug)]
pub enum Stopped {
    /// The recording is over.
    End,
    /// The driver did something else.
    Difference {
        /// What.
        difference: Difference,
        /// Where it was in the driver, innermost first, if its code was running.
        callers: Vec<Caller>,
    },
}

/// Why a driver cannot be run against a recording.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError<E> {
    /// The recording cannot be read any further.
    #[error(transparent)]
    Source(E),
    /// An instance did not begin.
    #[error("the driver does not start: {0}")]
    Launch(String),
    /// Something that cannot be where it is.
    #[error("the recording makes no sense: {0}")]
    Senseless(&'static str),
    /// The driver's state could not be put back.
    #[error("what the recorded run did cannot be done here: {0}")]
    Impossible(String),
}

/// Runs drivers that `launcher` makes against a recording, whose events `next` returns one after the other. `host` has
/// a device that is never used. Of the snapshots, only those in `wanted` are kept, which the recording goes on from.
///
/// Returns what was done, and why it ended. That is whole also if there is an error.
///
/// # Errors
/// If the recording cannot be read any further, or the driver cannot follow it.
pub fn replay<E>(
    launcher: &dyn Launcher,
    host: Host,
    wanted: &HashSet<u64>,
    mut next: impl FnMut() -> Result<Option<Recorded<'static>>, E>,
) -> (Replayed, Result<Stopped, ReplayError<E>>) {
    let mut run = Run {
        launcher,
        state: State::Idle(Some(Box::new(host))),
        wanted,
        images: HashMap::new(),
        did: Replayed::default(),
    };
    if let State::Idle(Some(host)) = &mut run.state {
        host.play();
    }
    let outcome = run.all(&mut next);
    (run.did, outcome)
}

enum State {
    Idle(Option<Box<Host>>),
    Running(Box<dyn Driver>),
}

struct Run<'a> {
    launcher: &'a dyn Launcher,
    state: State,
    wanted: &'a HashSet<u64>,
    images: HashMap<u64, Image>,
    did: Replayed,
}

impl Run<'_> {
    fn all<E>(
        &mut self,
        next: &mut impl FnMut() -> Result<Option<Recorded<'static>>, E>,
    ) -> Result<Stopped, ReplayError<E>> {
        while let Some(event) = next().map_err(ReplayError::Source)? {
            match event {
                Recorded::Begun => self.begin()?,
                Recorded::Ended => self.end(),
                Recorded::Entered { entry, args, told_ns } => {
                    self.did.told_ns = told_ns;
                    if let Some(stopped) = self.call(entry, args, next)? {
                        return Ok(stopped);
                    }
                }
                Recorded::RolledBack(memory) => self.roll_back(&memory)?,
                Recorded::Captured(snapshot) => self.capture(snapshot)?,
                Recorded::Restored { snapshot, memory } => self.restore(snapshot, &memory)?,
                Recorded::State { globals, memory } => self.go_on(&globals, &memory)?,
                Recorded::Counted(_) | Recorded::Loaded { .. } | Recorded::Called { .. } | Recorded::Left { .. } => {
                    return Err(ReplayError::Senseless("something happens in no call"));
                }
            }
        }
        Ok(Stopped::End)
    }

    fn driver<E>(&mut self) -> Result<&mut dyn Driver, ReplayError<E>> {
        match &mut self.state {
            State::Running(driver) => Ok(&mut **driver),
            State::Idle(_) => Err(ReplayError::Senseless("no instance runs")),
        }
    }

    fn begin<E>(&mut self) -> Result<(), ReplayError<E>> {
        self.end();
        let State::Idle(host) = &mut self.state else { return Ok(()) };
        let host = host.take().ok_or(ReplayError::Senseless("an instance begins after one that did not start"))?;
        let driver = self.launcher.launch(*host).map_err(|error| ReplayError::Launch(error.why))?;
        self.state = State::Running(driver);
        self.did.instances += 1;
        self.share(&[])
    }

    fn end(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Idle(None)) {
            State::Running(driver) => State::Idle(Some(Box::new(driver.end().host))),
            idle => idle,
        };
    }

    /// Has shared memory be this, and zero elsewhere.
    fn share<E>(&mut self, memory: &[Bytes<'_>]) -> Result<(), ReplayError<E>> {
        let Some(space) = self.driver()?.host().space else { return Ok(()) };
        let from = space.host_page_addr();
        put(&space, from, &vec![0; (space.len_bytes() - from) as usize]);
        for (addr, bytes) in memory {
            // What is below is the driver's own, and was put back with it.
            let own = usize::try_from(from.saturating_sub(*addr)).map_or(bytes.len(), |own| own.min(bytes.len()));
            put(&space, addr + own as u64, &bytes[own..]);
        }
        Ok(())
    }

    fn call<E>(
        &mut self,
        entry: Entry,
        args: [u64; 3],
        next: &mut impl FnMut() -> Result<Option<Recorded<'static>>, E>,
    ) -> Result<Option<Stopped>, ReplayError<E>> {
        let mut events = VecDeque::new();
        loop {
            let event = next().map_err(ReplayError::Source)?;
            // The run ended amid the call.
            let Some(event) = event else { break };
            let is_last = matches!(event, Recorded::Left { .. });
            self.did.hostcalls += u64::from(matches!(event, Recorded::Called { .. }));
            events.push_back(event);
            if is_last {
                break;
            }
        }
        self.did.calls += 1;
        let fault = match events.back() {
            Some(Recorded::Left { how: HowLeft::Faulted(text), .. }) => Some(text.to_string()),
            _ => None,
        };
        let driver = self.driver()?;
        // What the last call did was not undone. It did nothing to the device that could fail.
        let _ = driver.host_mut().commit_transaction();
        driver.host_mut().player().iter_mut().for_each(|player| player.begin(entry, std::mem::take(&mut events)));
        let outcome = enter(driver, entry, args);
        let host = driver.host_mut();
        let difference = host.player().and_then(|player| player.end(&outcome));
        let callers = if outcome.is_err() { host.call.trace.take().callers } else { Vec::new() };
        let Some(difference) = difference else {
            self.did.fault = fault.map(|text| Faulted { entry, text, callers });
            return Ok(None);
        };
        Ok(Some(Stopped::Difference { difference, callers }))
    }

    fn roll_back<E>(&mut self, memory: &[Bytes<'_>]) -> Result<(), ReplayError<E>> {
        self.did.rollbacks += 1;
        let driver = self.driver()?;
        if driver.roll_back().is_none() {
            return Err(ReplayError::Impossible("the last call cannot be rolled back".into()));
        }
        driver.host_mut().abort_transaction();
        if let Some(space) = &driver.host().space {
            memory.iter().for_each(|(addr, bytes)| put(space, *addr, bytes));
        }
        Ok(())
    }

    fn capture<E>(&mut self, snapshot: u64) -> Result<(), ReplayError<E>> {
        if self.wanted.contains(&snapshot) {
            let image = self.driver()?.capture();
            let image = image.ok_or_else(|| ReplayError::Impossible("it takes no snapshots".into()))?;
            self.images.insert(snapshot, image);
        }
        Ok(())
    }

    fn restore<E>(&mut self, snapshot: u64, memory: &[Bytes<'_>]) -> Result<(), ReplayError<E>> {
        self.did.restores += 1;
        let image = self.images.get(&snapshot).ok_or(ReplayError::Senseless("there was no such snapshot"))?.clone();
        self.put_back(&image, memory)
    }

    /// Goes on from a state: in the instance that runs, or in a fresh one at the recording's beginning.
    fn go_on<E>(&mut self, globals: &[GlobalValue], memory: &[Bytes<'_>]) -> Result<(), ReplayError<E>> {
        if matches!(self.state, State::Idle(_)) {
            self.begin()?;
        }
        let globals = globals.iter().map(|global| global.value()).collect();
        let image = Image::from_bytes(memory, self.driver()?.host().layout(), globals);
        self.put_back(&image, memory)
    }

    fn put_back<E>(&mut self, image: &Image, memory: &[Bytes<'_>]) -> Result<(), ReplayError<E>> {
        let driver = self.driver()?;
        driver.host_mut().forget_transaction();
        driver.restore(image).map_err(ReplayError::Impossible)?;
        self.share(memory)
    }
}

macro_rules! define_enter {
    ($({ $doc:literal } $class:ident $context:ident $required:ident $kind:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        /// Calls an entry.
        fn enter(driver: &mut dyn Driver, entry: Entry, args: [u64; 3]) -> Result<u64, Fault> {
            let mut args = args.into_iter();
            let mut next = || args.next().unwrap_or_default();
            match entry {
                $(Entry::$variant => {
                    $(let $arg = next() as $ty;)*
                    driver.$name($($arg),*).map(|result| result.word())
                })*
            }
        }
    };
}

nook_abi::entries!(define_enter);
