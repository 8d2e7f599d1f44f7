//! Whether an instance runs, and the host in either case.

use nook_bus::DeviceError;

use crate::{Driver, Ended, Host, Launcher, NookError};

/// The host serves an instance, which holds it meanwhile, or waits for the next one.
enum State {
    Running(Box<dyn Driver>),
    Idle(Box<Host>),
}

/// One life after the other. [`change`](Self::change) alone removes the state and puts another in.
pub(super) struct Lifecycle(Option<State>);

const WHOLE: &str = "a change of state ends with a state: after a panic in one, nobody uses the nook again";

impl Lifecycle {
    /// Creates it, without an instance yet.
    pub(super) fn new(host: Host) -> Self {
        Lifecycle(Some(State::Idle(Box::new(host))))
    }

    fn state(&self) -> &State {
        self.0.as_ref().expect(WHOLE)
    }

    #[inline]
    fn state_mut(&mut self) -> &mut State {
        self.0.as_mut().expect(WHOLE)
    }

    fn change<T>(&mut self, to: impl FnOnce(State) -> (State, T)) -> T {
        let (state, outcome) = to(self.0.take().expect(WHOLE));
        self.0 = Some(state);
        outcome
    }

    pub(super) fn host(&self) -> &Host {
        match self.state() {
            State::Running(driver) => driver.host(),
            State::Idle(host) => host,
        }
    }

    #[inline]
    pub(super) fn host_mut(&mut self) -> &mut Host {
        match self.state_mut() {
            State::Running(driver) => driver.host_mut(),
            State::Idle(host) => host,
        }
    }

    /// Returns the instance that runs.
    #[inline]
    pub(super) fn driver(&mut self) -> Option<&mut dyn Driver> {
        match self.state_mut() {
            State::Running(driver) => Some(&mut **driver),
            State::Idle(_) => None,
        }
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.state(), State::Running(_))
    }

    /// Begins a life; the last one, if it has not ended, ends.
    pub(super) fn begin(&mut self, launcher: &dyn Launcher) -> Result<(), NookError> {
        if self.runs() {
            self.end()?;
        }
        self.change(|state| match state {
            State::Idle(host) => match launcher.launch(*host) {
                Ok(driver) => (State::Running(driver), Ok(())),
                Err(error) => (State::Idle(Box::new(error.host)), Err(NookError::Launch(error.why))),
            },
            running => (running, Ok(())),
        })
    }

    /// Ends the instance that runs, without calling it. The device is quiet then; one that did not become quiet when
    /// its instance ended is made quiet now.
    pub(super) fn end(&mut self) -> Result<(), DeviceError> {
        self.change(|state| match state {
            State::Running(driver) => {
                let Ended { host, quiet } = driver.end();
                (State::Idle(Box::new(host)), quiet)
            }
            State::Idle(mut host) => {
                let quiet = host.quiet();
                (State::Idle(host), quiet)
            }
        })
    }
}
