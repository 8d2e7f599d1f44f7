//! What a class of devices brings to a nook: [`Class`], which the loop asks, and [`Bisect`], for the search
//! for the one thing that ends a driver. The host keeps what hostcalls of the class change, in a [`Port`]; a class is a
//! folder, and a line here.

use std::fmt;
use std::os::fd::RawFd;

use nook_abi::{CLASS_WORDS, Entry, Fault, Hostcall, Status, poll_result};

use crate::{Driver, Host, NookError, OwnedManifest, Space, block, misc, net, serial};

/// How a driver of one class is served: what it is given, what it gives back, and what is above it.
///
/// The loop calls it between calls of the driver, on the nook's thread. What was given and taken lies with the class;
/// memory is reached through the [`Host`] that each method is shown.
pub trait Class: Bisect + Send + Sized {
    /// Which one it is.
    const CLASS: nook_abi::Class;
    /// What a snapshot holds of it.
    type Image: Clone + fmt::Debug + Send;

    /// Begins a fresh instance, which is about to be probed and has nothing yet.
    fn begin(&mut self, host: &Host);

    /// Sets the instance up after it was probed and before it is opened: applies its settings, and gives it what it
    /// needs at once.
    ///
    /// # Errors
    /// What the driver did wrong, or if it attached nothing.
    fn set_up(&mut self, driver: &mut dyn Driver) -> Result<(), NookError>;

    /// Ends the instance while its memory is still there: everything that it had is the host's again. Once for
    /// each life.
    fn end(&mut self, host: &Host);

    /// Expects a successor, or the restore of a snapshot: what is above does not learn of it.
    fn expect_recovery(&mut self, now_ns: u64);

    /// Warns about what an instance kept that was stopped in order and should have given everything back.
    fn stopped(&mut self);

    /// Shuts down what is above: there will be no successor, unless one is started.
    ///
    /// # Errors
    /// If what is above fails.
    fn shut(&mut self, host: &mut Host) -> Result<(), NookError>;

    /// Lets what is above work. Says when it wants to work again if nothing happens, in nanoseconds of the nook's
    /// clock.
    ///
    /// # Errors
    /// If it fails.
    fn service(&mut self, host: &Host, now_ns: u64) -> Result<Option<u64>, NookError>;

    /// Looks for what goes wrong without a wrong act. Says when it wants to look again if nothing happens, in
    /// nanoseconds of the nook's clock.
    ///
    /// # Errors
    /// What it found.
    fn check_health(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<Option<u64>, NookError>;

    /// Returns whether the driver can work.
    fn is_ready(&self, host: &Host) -> bool;

    /// Adds descriptors that become readable when there is something to be given, as far as it could be given now.
    fn event_fds(&self, host: &Host, fds: &mut Vec<RawFd>);

    /// Gives the driver what there is to be done. Says how many.
    ///
    /// # Errors
    /// What the driver did wrong, or if what is above fails.
    fn provide(&mut self, host: &mut Host, now_ns: u64) -> Result<u32, NookError>;

    /// Makes the one call in which the driver takes what it was given, and gives back what is done.
    ///
    /// # Errors
    /// What the driver did wrong.
    fn call(&mut self, driver: &mut dyn Driver) -> Result<(), NookError>;

    /// Checks all that the driver gave back in a call. Nothing of it counts before [`accept`](Self::accept).
    ///
    /// # Errors
    /// What the driver did wrong; everything is as before then.
    fn check(&mut self) -> Result<(), Fault>;

    /// Accepts a call that is final: what was checked goes where it belongs.
    ///
    /// # Errors
    /// If what is above fails.
    fn accept(&mut self, host: &mut Host) -> Result<(), NookError>;

    /// Returns what came of a [`call`](Self::call) that is final.
    ///
    /// # Errors
    /// What the driver did wrong.
    fn finish_call(&mut self, host: &mut Host) -> Result<CallOutcome, NookError>;

    /// Returns a call is rolled back: what was checked, or said, and not accepted does not count.
    fn abort(&mut self);

    /// Returns how many things ever came out of drivers.
    fn returned(&self) -> u64;

    /// Returns a number that changes whenever something changes hands; `None` while the driver has work.
    fn idle_stamp(&self) -> Option<u64>;

    /// Prepares for a snapshot: what is to be reported, up or down, is reported before.
    ///
    /// # Errors
    /// What the driver did wrong.
    fn before_snapshot(&mut self, driver: &mut dyn Driver, now_ns: u64) -> Result<(), NookError>;

    /// Returns what a restore needs; `None` if there can be none.
    fn capture(&self, host: &Host) -> Option<Self::Image>;

    /// Returns whether a snapshot may help against this fault. One is of no use against what the instance, or its
    /// device, has never been able to do.
    fn snapshot_helps(&self, _fault: &Fault) -> bool {
        true
    }

    /// Returns whether this is of the settings that hold.
    fn fits(&self, image: &Self::Image) -> bool;

    /// Restores the class's state, after the driver's memory, but for work that it was given since: that is given
    /// again, or given up.
    fn restore(&mut self, host: &mut Host, image: &Self::Image);

    /// Sets whether work that an instance had when it ended, perhaps done already, is given again.
    fn resubmit(&mut self, resubmits: bool);

    /// Returns what is counted, by name, for reports.
    fn counts(&self) -> Vec<(&'static str, u64)>;
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOutcome {
    /// How many things came that the device brought by itself.
    pub arrived: u64,
    /// The driver asks for another call, or needs one.
    pub again: bool,
    /// The host wants another call: this one did less than it could have.
    pub more: bool,
}

/// How the one thing is found that ends a driver whose calls can be rolled back. By itself, not at all.
pub trait Bisect {
    /// The largest batch that a call moves.
    const BATCH: u32;
    /// The entry in whose calls things are moved.
    const MOVES: Entry;

    /// Makes the next `calls` of [`MOVES`](Self::MOVES) move one thing each way.
    fn single(&mut self, _calls: u32) {}

    /// Returns whether [`single`](Self::single) still holds.
    fn is_single(&self) -> bool {
        false
    }

    /// Gives nothing to the next call, which moves one thing at most: what the driver had not taken is withheld, and
    /// given to it afterwards. Says whether this class can do that.
    ///
    /// # Errors
    /// If what the driver says of what it took makes no sense.
    fn withhold(&mut self) -> Result<bool, Fault> {
        Ok(false)
    }

    /// Gives up the oldest of what was withheld: it is the one. Says whether there was one.
    fn give_up(&mut self) -> bool {
        false
    }

    /// Makes the next call complete the oldest thing that came, unseen, and nothing else. Returns whether this driver
    /// can do that.
    fn discard_next(&mut self) -> bool {
        false
    }

    /// Returns how many things were given up like that.
    fn discarded(&self) -> u64 {
        0
    }
}

/// Calls `poll` and returns what it answered.
///
/// # Errors
/// If that is no answer, or the driver did something wrong.
#[inline]
pub(crate) fn poll(driver: &mut dyn Driver, budget: u32, flags: u32) -> Result<u32, NookError> {
    let queue = driver.host().call.due.queue();
    match driver.poll(queue, budget, flags) {
        Ok(answer @ ..=poll_result::AGAIN) => Ok(answer),
        Ok(answer) => {
            let rule = "neither idle nor again";
            Err(driver.host().error(Fault::BadReturn { entry: Entry::Poll, value: answer.into(), rule }))
        }
        Err(fault) => Err(driver.host().error(fault)),
    }
}

/// Calls an entry that returns a status.
///
/// # Errors
/// If the driver refuses, or did something wrong.
pub(crate) fn call(
    driver: &mut dyn Driver,
    entry: Entry,
    call: impl FnOnce(&mut dyn Driver) -> Result<i32, Fault>,
) -> Result<(), NookError> {
    let host = driver.host_mut();
    let now_ns = host.clock.now_ns();
    host.tell_time(now_ns);
    match call(driver) {
        Ok(0) => Ok(()),
        Ok(code) => match Status::from_code(code) {
            Some(status) => Err(NookError::Refused { entry, status }),
            None => {
                let rule = "neither 0 nor a status";
                Err(driver.host().error(Fault::BadReturn { entry, value: code as u32 as u64, rule }))
            }
        },
        Err(fault) => Err(driver.host().error(fault)),
    }
}

macro_rules! define_port {
    ($($class:ident $module:ident $name:ident;)*) => {
        /// What the hostcalls of a driver's class have changed.
        pub(crate) enum Port {
            $($class($module::Port),)*
            /// Of modules that drive no device.
            None,
        }

        impl Port {
            pub(crate) fn new(class: nook_abi::Class) -> Port {
                match class {
                    $(nook_abi::Class::$class => Port::$class(Default::default()),)*
                    _ => Port::None,
                }
            }

            /// Returns what the class has in the host page of a driver in this memory; `beside` says that the nook has
            /// a second module.
            pub(crate) fn page(&self, manifest: &OwnedManifest, space: &Space, beside: bool) -> [u64; CLASS_WORDS] {
                match self {
                    $(Port::$class(port) => $module::page(port, manifest, space, beside),)*
                    Port::None => [0; CLASS_WORDS],
                }
            }

            /// Begins a fresh instance, which has changed nothing yet.
            pub(crate) fn begin(&mut self) {
                match self {
                    $(Port::$class(port) => port.begin(),)*
                    Port::None => {}
                }
            }

            /// The instance is gone.
            pub(crate) fn end(&mut self) {
                match self {
                    $(Port::$class(port) => port.end(),)*
                    Port::None => {}
                }
            }

            /// Begins a call that may be rolled back.
            #[inline]
            pub(crate) fn begin_call(&mut self) {
                match self {
                    $(Port::$class(port) => port.begin_call(),)*
                    Port::None => {}
                }
            }

            /// Makes final what the last call changed.
            #[inline]
            pub(crate) fn commit(&mut self) {
                match self {
                    $(Port::$class(port) => port.commit(),)*
                    Port::None => {}
                }
            }

            /// Drops what the call changed, because it is rolled back.
            pub(crate) fn abort(&mut self) {
                match self {
                    $(Port::$class(port) => port.abort(),)*
                    Port::None => {}
                }
            }

            $(
                /// Of a driver of this class.
                #[inline]
                pub(crate) fn $name(&self) -> Option<&$module::Port> {
                    match self {
                        Port::$class(port) => Some(port),
                        _ => None,
                    }
                }
            )*
        }

        /// Returns the bytes of the window that a driver's class needs behind the DMA regions.
        pub(crate) fn window_bytes(manifest: &OwnedManifest) -> u64 {
            match manifest.class() {
                $(nook_abi::Class::$class => $module::window_bytes(manifest),)*
                _ => 0,
            }
        }

        /// Returns the bytes of each of the rings that a driver's class has, 0 for one that it does not have.
        pub(crate) fn ring_bytes(manifest: &OwnedManifest) -> [usize; 4] {
            match manifest.class() {
                $(nook_abi::Class::$class => $module::ring_bytes(),)*
                _ => [0; 4],
            }
        }

        $(
            impl $module::Port {
                /// Returns the port that a hostcall of this class changes.
                ///
                /// # Errors
                /// If the driver is of another class.
                pub(crate) fn of(host: &mut Host, call: Hostcall) -> Result<&mut $module::Port, Fault> {
                    match &mut host.port {
                        Port::$class(port) => Ok(port),
                        _ => Err(other_class(call)),
                    }
                }
            }
        )*
    };
}

define_port! {
    Net net net;
    Misc misc misc;
    Block block block;
    Serial serial serial;
}

/// Returns the fault of a hostcall of another class: the loader refuses such a module, so this driver is native.
#[cold]
fn other_class(call: Hostcall) -> Fault {
    let rule = "a hostcall of another class than the driver's";
    Fault::BadArgument { call, argument: "class", value: 0, rule }
}
