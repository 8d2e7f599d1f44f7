//! The number in an instance whose module counts ([`Counting`](nook_instrument::Counting)): it is set when a call
//! begins and read when it ends.

use nook_abi::Entry;
use nook_instrument::COUNTDOWN_EXPORT;
use wasmtime::{Global, Instance, Store, Val};

use crate::Host;

/// The number of one instance's module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Countdown(Global);

impl Countdown {
    /// Returns the countdown of an instance, if its module counts.
    pub(crate) fn of(store: &mut Store<Host>, instance: &Instance) -> Option<Self> {
        instance.get_global(store, COUNTDOWN_EXPORT).map(Countdown)
    }

    fn set(self, store: &mut Store<Host>, number: u64) {
        // Drivers cannot export anything by this name, so it is the global that was added, of this type.
        let set = self.0.set(store, Val::I64(number.cast_signed()));
        debug_assert!(set.is_ok());
    }

    /// Begins a call of `entry`. Returns whether it is counted, because it is to end in a trap or to be measured.
    #[inline]
    pub(crate) fn begin(self, store: &mut Store<Host>, entry: Entry) -> bool {
        let number = store.data_mut().crash_begins(entry);
        if let Some(number) = number {
            self.set(store, number);
        }
        number.is_some()
    }

    /// Ends a call that was counted. Returns whether the countdown ended it.
    pub(crate) fn end(self, store: &mut Store<Host>, returned: bool) -> bool {
        let left = self.0.get(&mut *store).i64().unwrap_or_default().cast_unsigned();
        self.set(store, 0);
        store.data_mut().crash_ends(left, returned);
        !returned && left == 0
    }
}
