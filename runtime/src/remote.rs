//! The host's side of a driver that runs elsewhere, in a separate process: its hostcalls arrive as numbers, and the
//! host's thread waits while it runs. What is checked is what a wasm driver's calls meet.

use nook_abi::{Entry, Fault, Hostcall, from_word, padded};

use crate::call_trace::{Caller, Word};
use crate::{Host, Services};

macro_rules! define_serve {
    ($({ $doc:literal } $class:ident $topic:ident $contexts:ident $since:tt $variant:ident
       fn $name:ident($($arg:ident: $ty:tt),*) -> $result:tt;)*) => {
        impl Host {
            /// Serves a hostcall whose arguments came as numbers, in the table's order; the rest is ignored. The result
            /// is as wide as the table says, with its sign.
            ///
            /// # Errors
            /// The [`Fault`] that the call is.
            #[inline]
            pub fn serve(&mut self, call: Hostcall, args: [u64; 3]) -> Result<u64, Fault> {
                match call {
                    $(Hostcall::$variant => {
                        let [$($arg,)* ..] = args;
                        let outcome = match self.admit(call) {
                            Ok(()) => self.$name($(from_word!($arg, $ty)),*),
                            Err(fault) => Err(fault),
                        };
                        self.call.trace.hostcall(call, padded([$($arg),*]), &outcome);
                        outcome.map(|value| value.word())
                    })*
                }
            }
        }
    };
}

nook_abi::hostcalls!(define_serve);

impl Host {
    /// Begins a call of a driver that runs elsewhere.
    #[inline]
    pub fn begin_remote_call(&mut self, entry: Entry, args: [u64; 3]) {
        self.begin_call(entry);
        self.call.trace.entry(entry, args);
    }

    /// Ends that call: it came back, or was ended.
    #[inline]
    pub fn end_remote_call(&mut self, outcome: &Result<u64, Fault>) {
        self.call.trace.left(outcome);
    }

    /// Handles a tick, after [`TICK_NS`](crate::TICK_NS) in a call of a driver that runs elsewhere; `cpu_ns` is its
    /// clock of CPU time, and in `nobodys_ns` of the time since the last tick it could not run, so that nobody is
    /// charged for them. The caller sees to it that this happens however long the driver is silent, and however often
    /// it speaks.
    ///
    /// # Errors
    /// If the call has used what it may.
    pub fn remote_tick(&mut self, cpu_ns: u64, nobodys_ns: u64) -> Result<(), Fault> {
        self.call.budget.excuse_lost(nobodys_ns);
        self.tick(cpu_ns)
    }

    /// Notes where a driver was that is no module when its last call was ended: what is known of it stands for its call
    /// stack.
    pub fn note_place(&mut self, place: String) {
        self.call.trace.callers = vec![Caller { function: 0, name: Some(place), module_offset: None, in_driver: true }];
    }

    /// CPU time that a driver that runs elsewhere may use outside its calls, beyond what these explain, before it is
    /// at fault: what a long call may use.
    pub fn process_cpu_ns(&self) -> u64 {
        self.call.budget.limits().process_cpu_ns
    }
}
