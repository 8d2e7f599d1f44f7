//! The functions that a [recording](nook_instrument::with_recording) module calls.

use nook_abi::{Entry, Fault, Hostcall};
use nook_instrument::{BORDER_EXPORT, Border, LoadKind};
use wasmtime::{Caller, Func, Instance, Ref, Store, Val};

use super::player::Player;
use super::recorder::Recorder;
use super::{GlobalValue, RecordSink, Tape};
use crate::call_trace::Word;
use crate::{Host, InstanceRollback, Life, Space};

/// Gives an instance the functions of the host that it calls, if it is of a module that calls them.
pub(crate) fn attach(store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<()> {
    let Some(table) = instance.get_table(&mut *store, BORDER_EXPORT) else { return Ok(()) };
    let loaded = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, value: u64, kind: i32| {
        caller.data_mut().has_loaded(addr.into(), value, LoadKind::of(kind)).map_err(wasmtime::Error::new)
    });
    let stored = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, value: u64, width: u32| {
        caller.data_mut().has_stored(addr.into(), value, width as usize);
    });
    let reads = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, len: u32| {
        caller.data_mut().is_reading(addr.into(), len.into()).map_err(wasmtime::Error::new)
    });
    let copied = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, to: u32, from: u32, len: u32| {
        caller.data_mut().has_copied(to.into(), from.into(), len.into());
    });
    let changed = Func::wrap(&mut *store, |mut caller: Caller<'_, Host>, addr: u32, len: u32| {
        caller.data_mut().has_changed(addr.into(), len.into());
    });
    let functions = [
        (Border::Loaded, loaded),
        (Border::Stored, stored),
        (Border::Reads, reads),
        (Border::Copied, copied),
        (Border::Changed, changed),
    ];
    for (border, function) in functions {
        table.set(&mut *store, border as u64, Ref::Func(Some(function)))?;
    }
    Ok(())
}

/// Has an instance's state recorded before it is called, if that is asked for, and it can be called and captured.
#[inline]
pub(crate) fn keep_state(
    store: &mut Store<Host>,
    rollback: &mut Option<Box<dyn InstanceRollback>>,
    fault: Option<Fault>,
) {
    if let Some(rollback) = rollback
        && fault.is_none()
        && store.data_mut().wants_state()
    {
        let globals = rollback.globals(store);
        store.data_mut().record_state(&globals);
    }
}

impl Host {
    /// Records from now on what enters the driver, in this instance and in later ones: each has to be of a module that
    /// was [made for that](crate::DriverModule::recording), in the sandbox.
    pub fn record(&mut self, sink: Box<dyn RecordSink>) {
        self.call.tape = Some(Box::new(Tape::Recording(Recorder::new(sink))));
    }

    /// Answers drivers from a recording from now on.
    pub(super) fn play(&mut self) {
        let player = Player::new(self.call.watch.clone());
        self.call.tape = Some(Box::new(Tape::Replaying(player)));
    }

    /// Returns what answers drivers from a recording, if anything does.
    #[inline]
    pub(crate) fn player(&mut self) -> Option<&mut Player> {
        match self.call.tape.as_deref_mut() {
            Some(Tape::Replaying(player)) => Some(player),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn recorder(&mut self) -> Option<&mut Recorder> {
        match self.call.tape.as_deref_mut() {
            Some(Tape::Recording(recorder)) => Some(recorder),
            _ => None,
        }
    }

    /// Returns whether what the driver does is answered from a recording, and nothing of it is done.
    #[inline]
    pub(crate) fn replays(&self) -> bool {
        matches!(self.call.tape.as_deref(), Some(Tape::Replaying(_)))
    }

    /// Notes that an instance begins.
    pub(crate) fn has_begun(&mut self) {
        self.call.trace.lived(Life::Begun);
        if let Some((recorder, space)) = self.recorder_and_space() {
            recorder.begun(space);
        }
    }

    /// Notes that it ended.
    pub(crate) fn has_ended(&mut self) {
        self.call.trace.lived(Life::Ended);
        self.recorder().into_iter().for_each(Recorder::ended);
    }

    /// Has it recorded that the last call was undone.
    pub(crate) fn record_rolled_back(&mut self) {
        if let Some((recorder, space)) = self.recorder_and_space() {
            recorder.rolled_back(space);
        }
    }

    /// Has it recorded that the instance goes on from this snapshot.
    pub(crate) fn record_restored(&mut self, snapshot: u64) {
        if let Some((recorder, space)) = self.recorder_and_space() {
            recorder.restored(snapshot, space);
        }
    }

    /// Returns whether the driver's state is to be recorded before it is called.
    #[inline]
    fn wants_state(&mut self) -> bool {
        let told_ns = self.call.trace.told_ns;
        self.recorder().is_some_and(|recorder| recorder.wants_state(told_ns))
    }

    /// Has the driver's state recorded, of which these are its globals.
    #[cold]
    fn record_state(&mut self, globals: &[Val]) {
        let globals: Option<Vec<_>> = globals.iter().map(GlobalValue::of).collect();
        if let (Some((recorder, space)), Some(globals)) = (self.recorder_and_space(), globals) {
            recorder.state(space, globals);
        }
    }

    fn recorder_and_space(&mut self) -> Option<(&mut Recorder, &Space)> {
        match (self.call.tape.as_deref_mut(), &self.space) {
            (Some(Tape::Recording(recorder)), Some(space)) => Some((recorder, space)),
            _ => None,
        }
    }

    /// Has it recorded that the driver was called.
    #[inline]
    pub(crate) fn record_entered(&mut self, entry: Entry, args: [u64; 3]) {
        let told_ns = self.call.trace.told_ns;
        if let Some(recorder) = self.recorder() {
            recorder.entered(entry, args, told_ns);
        }
    }

    /// Has it recorded that the driver called the host.
    #[inline]
    pub(crate) fn record_called(
        &mut self,
        call: Hostcall,
        args: [u64; 3],
        outcome: impl FnOnce() -> Result<u64, Fault>,
    ) {
        if let Some(recorder) = self.recorder() {
            recorder.called(call, args, outcome());
        }
    }

    /// Notes that a call of the driver is over.
    #[inline]
    pub(crate) fn left<R: Word>(&mut self, outcome: &Result<R, Fault>) {
        self.call.trace.left(outcome);
        if let Some(recorder) = self.recorder() {
            recorder.left(&outcome.as_ref().map(Word::word).map_err(|fault| *fault));
        }
    }

    #[inline]
    fn has_loaded(&mut self, addr: u64, value: u64, kind: LoadKind) -> Result<u64, Fault> {
        match (self.call.tape.as_deref_mut(), &self.space) {
            (Some(Tape::Recording(recorder)), _) => recorder.loaded(addr, value, kind),
            (Some(Tape::Replaying(player)), Some(space)) => return player.loaded(space, addr, value, kind),
            _ => {}
        }
        Ok(value)
    }

    #[inline]
    fn has_stored(&mut self, addr: u64, value: u64, width: usize) {
        match self.call.tape.as_deref_mut() {
            Some(Tape::Recording(recorder)) => recorder.stored(addr, value, width),
            Some(Tape::Replaying(player)) => player.stored(addr, value, width),
            None => {}
        }
    }

    fn is_reading(&mut self, addr: u64, len: u64) -> Result<(), Fault> {
        match (self.call.tape.as_deref_mut(), &self.space) {
            (Some(Tape::Recording(recorder)), Some(space)) => recorder.reads(space, addr, len),
            (Some(Tape::Replaying(player)), Some(space)) => return player.reads(space, addr, len),
            _ => {}
        }
        Ok(())
    }

    fn has_copied(&mut self, to: u64, from: u64, len: u64) {
        match (self.call.tape.as_deref_mut(), &self.space) {
            (Some(Tape::Recording(recorder)), Some(space)) => recorder.copied(space, to, from, len),
            (Some(Tape::Replaying(player)), Some(space)) => player.changed(space, to, len),
            _ => {}
        }
    }

    fn has_changed(&mut self, addr: u64, len: u64) {
        match (self.call.tape.as_deref_mut(), &self.space) {
            (Some(Tape::Recording(recorder)), Some(space)) => recorder.changed(space, addr, len),
            (Some(Tape::Replaying(player)), Some(space)) => player.changed(space, addr, len),
            _ => {}
        }
    }
}
