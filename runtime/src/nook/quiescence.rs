//! Snapshots: when one can be taken, and back to one.

use super::Nook;
use crate::device::DeviceFingerprint;
use crate::{Class, NookError, Snapshot};

/// For how long nothing may have moved, so that it is known that the device has nothing up its sleeve: longer than
/// any sensible card holds back what it is done with, to interrupt less often.
const QUIET_NS: u64 = 50_000_000;

/// How often a driver that has just begun is called before it has all that it wants: it holds no more than a queue
/// does, twice.
const ROUNDS: u32 = 4;

/// What a look for a moment at which nothing moves has found.
pub enum SnapshotAttempt<I> {
    /// Something moves: look again after a later turn.
    Busy,
    /// Nothing has moved; look again then, in nanoseconds of the nook's clock.
    QuietUntil(u64),
    /// This was such a moment.
    Taken(Box<Snapshot<I>>),
    /// This driver, or its device, cannot be restored, at least as it is now.
    Unsupported,
}

/// What was seen at the last look.
pub(super) struct Quiescence {
    moves: u64,
    /// Since when nothing has moved, and what has to stay as it is. Not at the first look after a move: under load,
    /// each look is a first one and costs no more than a comparison.
    fingerprint: Option<(u64, DeviceFingerprint)>,
}

impl<C: Class> Nook<C> {
    /// Looks whether this is a moment at which nothing moves, and takes a snapshot if so. To be called between turns;
    /// it calls `stats` and `poll`, which find nothing at such a moment.
    ///
    /// # Errors
    /// What the driver did wrong meanwhile, as in a [`turn`](Self::turn).
    pub fn try_snapshot(&mut self) -> Result<SnapshotAttempt<C::Image>, NookError> {
        if !self.driver()?.can_snapshot() {
            return Ok(SnapshotAttempt::Unsupported);
        }
        let now = self.clock.now_ns();
        let Some(moves) = self.idle_stamp() else {
            self.quiescence = None;
            return Ok(SnapshotAttempt::Busy);
        };
        let fingerprint = match self
            .quiescence
            .replace(Quiescence { moves, fingerprint: None })
            .filter(|before| before.moves == moves)
        {
            None => return Ok(SnapshotAttempt::Busy),
            Some(Quiescence { fingerprint: None, .. }) => {
                let fingerprint = self.fingerprint()?;
                self.quiescence = Some(Quiescence { moves, fingerprint: Some((now, fingerprint)) });
                return Ok(SnapshotAttempt::QuietUntil(now + QUIET_NS));
            }
            Some(Quiescence { fingerprint: Some((since_ns, fingerprint)), .. }) if now < since_ns + QUIET_NS => {
                self.quiescence = Some(Quiescence { moves, fingerprint: Some((since_ns, fingerprint)) });
                return Ok(SnapshotAttempt::QuietUntil(since_ns + QUIET_NS));
            }
            Some(Quiescence { fingerprint: Some((_, fingerprint)), .. }) => fingerprint,
        };
        let (class, driver) = self.class_and_driver()?;
        class.before_snapshot(driver, now)?;
        // Had anything been left lying, the driver would find it now.
        self.poll_all(now, !self.awaits_ready)?;
        if self.idle_stamp() != Some(moves) {
            return Ok(SnapshotAttempt::Busy);
        }
        self.take(&fingerprint, now)
    }

    /// Takes a snapshot before traffic begins, at once if that can be done: the device has moved nothing since the
    /// driver told it where to begin, so nothing can be under way, and no time need pass to know it. To be called
    /// between turns, after the start, or when the driver can work from now on; it is called, and given
    /// nothing to do.
    ///
    /// # Errors
    /// What the driver did wrong meanwhile, as in a [`turn`](Self::turn).
    pub fn snapshot_before_traffic(&mut self) -> Result<SnapshotAttempt<C::Image>, NookError> {
        if !self.driver()?.can_snapshot() {
            return Ok(SnapshotAttempt::Unsupported);
        }
        if self.idle_stamp_now().is_none() {
            return Ok(SnapshotAttempt::Busy);
        }
        let now = self.clock.now_ns();
        self.quiescence = None;
        let (class, driver) = self.class_and_driver()?;
        class.before_snapshot(driver, now)?;
        let mut look = SnapshotAttempt::Busy;
        for _ in 0..ROUNDS {
            let (moves, fingerprint) = (self.idle_stamp_now(), self.fingerprint()?);
            self.poll_all(now, false)?;
            // It took what it needs, or returned what had come; what it has then is seen in the next round.
            if moves.is_some() && self.idle_stamp_now() == moves {
                if self.device_has_not_moved()? {
                    look = self.take(&fingerprint, now)?;
                }
                break;
            }
        }
        self.host_mut().call.due.poll_all();
        Ok(look)
    }

    /// Copies what there is to be restored, if it is still as in `fingerprint` afterwards: what had come while it
    /// was copied would be there in part.
    fn take(&mut self, fingerprint: &DeviceFingerprint, now: u64) -> Result<SnapshotAttempt<C::Image>, NookError> {
        let host = self.host_mut();
        let kept = host.capture().map_err(|error| host.device.failed(error));
        let kept = kept.map_err(|fault| self.fault(fault))?;
        let class = self.class.capture(self.lifecycle.host());
        let image = self.driver()?.capture();
        let Some(((host, driver), class)) = kept.zip(image).zip(class) else { return Ok(SnapshotAttempt::Unsupported) };
        if self.fingerprint()? != *fingerprint {
            return Ok(SnapshotAttempt::Busy);
        }
        self.host_mut().counters.snapshots += 1;
        self.awaits_ready = !self.is_ready();
        Ok(SnapshotAttempt::Taken(Box::new(Snapshot { driver, host, class, at_ns: now })))
    }

    /// Returns a number that changes whenever something changes hands; `None` while a call is not final, or the driver
    /// has work.
    fn idle_stamp_now(&self) -> Option<u64> {
        self.class.idle_stamp().filter(|_| self.opened && !self.host().call.transaction.is_open())
    }

    /// Returns the same; `None` also while an interrupt is to be delivered.
    fn idle_stamp(&self) -> Option<u64> {
        self.idle_stamp_now().filter(|_| self.host().device.pending_irqs() == 0)
    }

    fn device_has_not_moved(&mut self) -> Result<bool, NookError> {
        let host = self.host_mut();
        let unmoved = host.device.has_not_moved().map_err(|error| host.device.failed(error));
        unmoved.map_err(|fault| self.fault(fault))
    }

    fn fingerprint(&mut self) -> Result<DeviceFingerprint, NookError> {
        let host = self.host_mut();
        let fingerprint = host.device.fingerprint().map_err(|error| host.device.failed(error));
        fingerprint.map_err(|fault| self.fault(fault))
    }

    /// Returns whether the nook can be restored from this: it is of the instance that runs, and of the settings that
    /// hold.
    pub fn fits(&self, snapshot: &Snapshot<C::Image>) -> bool {
        self.host().is_of_now(&snapshot.host) && self.class.fits(&snapshot.class)
    }

    /// Brings driver, host and device back to a snapshot that [fits](Self::fits). Work that the driver was given
    /// since is given to it again; what came and it had not handed over is lost.
    ///
    /// # Errors
    /// If that cannot be done. Then the instance must not be called again.
    pub fn restore(&mut self, snapshot: &Snapshot<C::Image>) -> Result<(), NookError> {
        if !self.fits(snapshot) {
            return Err(NookError::OtherSnapshot);
        }
        self.quiescence = None;
        self.host_mut().silence(&snapshot.host)?;
        self.driver()?.restore(&snapshot.driver).map_err(NookError::NotRestored)?;
        let Nook { lifecycle, class, .. } = self;
        class.restore(lifecycle.host_mut(), &snapshot.class);
        lifecycle.host_mut().restore(&snapshot.host)?;
        self.opened = true;
        // The device may need a while until it works again.
        self.class.expect_recovery(self.clock.now_ns());
        Ok(())
    }
}
