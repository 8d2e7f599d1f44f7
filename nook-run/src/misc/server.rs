//! Serves the operations of a misc driver to clients at a Unix socket (`--serve`, docs/calls.md).
//!
//! It has no thread, and nothing in it waits: sockets are asked between turns of the nook, and one descriptor becomes
//! readable when there is something to ask. What a client can make it hold is bounded: a line each way, and one call at
//! a time. Who connects beyond [`MOST_CLIENTS`] waits in the kernel's queue.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nook_block::{Listener, NbdAddress};
use nook_client::{MOST_LINE_BYTES, Outcome, Reason, line, unhex};
use nook_runtime::{Answer, AskError, Failure, Misc, Nook};
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::time::Timespec;
use serde::Serialize;

/// Connections at a time.
const MOST_CLIENTS: usize = 64;
/// The longest name of an operation.
const MOST_NAME_BYTES: usize = 32;
/// What the listener's events say; clients count from 1.
const LISTENER: u64 = 0;

/// What was served.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ServedReport {
    /// Connections that were taken.
    pub connections: u64,
    /// Calls that were answered, whatever with.
    pub calls: u64,
}

/// A socket, its clients, and what they wait for.
pub struct Server {
    listener: Listener,
    epoll: OwnedFd,
    /// The listener is one of those that are asked.
    listens: bool,
    /// No connection is taken until then: the last one could not be.
    rests_until: Option<Instant>,
    /// The nook wakes for clients.
    watched: bool,
    clients: HashMap<u64, Client>,
    served: ServedReport,
}

struct Client {
    stream: UnixStream,
    /// What it said and nothing was done about yet.
    heard: Vec<u8>,
    /// What it was not told yet.
    to_say: Vec<u8>,
    /// The ticket of the call that it waits for.
    asked: Option<u32>,
    /// What is left is said, and then it is let go.
    ends: bool,
    /// What it is asked for.
    interest: Option<EventFlags>,
}

impl Server {
    /// Begins to listen; calls are taken when [`go_on`](Self::go_on) is called.
    pub fn listen(path: &Path) -> Result<Self> {
        let listener = Listener::open(&NbdAddress::Unix(path.to_owned())).context("--serve")?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("--serve: cannot wait for clients")?;
        tracing::info!("serving the driver's operations at {}", path.display());
        let served = ServedReport::default();
        let clients = HashMap::new();
        Ok(Server { listener, epoll, listens: false, rests_until: None, watched: false, clients, served })
    }

    /// Returns what was served.
    pub fn report(&self) -> ServedReport {
        self.served.clone()
    }

    /// Tells clients what came of their calls, and takes new ones.
    pub fn go_on(&mut self, nook: &mut Nook<Misc>) {
        self.answer(nook);
        // Between two drivers nobody knows which operations there are: what clients say stays where it is.
        let is_open = nook.is_open();
        if is_open != self.watched {
            let fd = self.epoll.as_raw_fd();
            if is_open {
                nook.watch(fd)
            } else {
                nook.unwatch(fd)
            }
            self.watched = is_open;
        }
        if !is_open {
            return;
        }
        let mut events = Vec::with_capacity(MOST_CLIENTS + 1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A signal may have come; then the next look finds what there is.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&now));
        for Event { data, .. } in events {
            match data.u64() {
                LISTENER => self.accept(),
                number => self.ask(nook, number),
            }
        }
        self.listen_for_more();
    }

    /// Ends what is under way: calls without an answer are answered with why there will be none, and then connections
    /// are closed.
    pub fn end(&mut self, nook: &mut Nook<Misc>, why: &str) {
        if std::mem::take(&mut self.watched) {
            nook.unwatch(self.epoll.as_raw_fd());
        }
        let answers = nook.answers();
        for client in self.clients.values_mut() {
            let known = answers.iter().find(|answer| client.asked == Some(answer.ticket)).map(|answer| &answer.outcome);
            let outcome = match known {
                Some(Err(Failure::NotAsked)) => Some(Err((Reason::Ended, format!("{why}: it was not done")))),
                Some(outcome) => Some(told(outcome.clone())),
                None if client.asked.is_some() => {
                    Some(Err((Reason::Ended, format!("{why}: whether it was done is not known"))))
                }
                None => None,
            };
            if let Some(outcome) = outcome {
                client.to_say.extend(line(&outcome).into_bytes());
                self.served.calls += 1;
            }
            // Who does not read it in time does without.
            let _ = client.say();
        }
        self.clients.clear();
    }

    fn accept(&mut self) {
        while self.clients.len() < MOST_CLIENTS {
            let stream = match self.listener.accept() {
                Ok(Some(stream)) => UnixStream::from(stream),
                Ok(None) => return,
                // It stays in the kernel's queue, and would be said to be there again and again.
                Err(error) => {
                    tracing::warn!("--serve: no connection is taken for a second: {error}");
                    self.rests_until = Some(Instant::now() + Duration::from_secs(1));
                    return;
                }
            };
            self.served.connections += 1;
            let number = LISTENER + self.served.connections;
            let (heard, to_say) = (Vec::new(), Vec::new());
            let client = Client { stream, heard, to_say, asked: None, ends: false, interest: None };
            self.clients.insert(number, client);
            self.settle(number, true);
        }
    }

    /// Listens as long as there is room for one more client.
    fn listen_for_more(&mut self) {
        self.rests_until = self.rests_until.filter(|&until| Instant::now() < until);
        let wanted = self.clients.len() < MOST_CLIENTS && self.rests_until.is_none();
        if wanted == self.listens {
            return;
        }
        let changed = if wanted {
            epoll::add(&self.epoll, &self.listener, EventData::new_u64(LISTENER), EventFlags::IN)
        } else {
            epoll::delete(&self.epoll, &self.listener)
        };
        match changed {
            Ok(()) => self.listens = wanted,
            Err(error) => tracing::warn!("--serve: {error}"),
        }
    }

    /// Hands out what the driver, or its end, has answered.
    fn answer(&mut self, nook: &mut Nook<Misc>) {
        for Answer { ticket, outcome } in nook.answers() {
            let found = self.clients.iter_mut().find(|(_, client)| client.asked == Some(ticket));
            // Who asked may be gone.
            let Some((&number, client)) = found else { continue };
            client.asked = None;
            self.served.calls += 1;
            client.to_say.extend(line(&told(outcome)).into_bytes());
            self.ask(nook, number);
        }
    }

    /// Tells a client what it was not told yet, and does what it asks for.
    fn ask(&mut self, nook: &mut Nook<Misc>, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let stays = client.go_on(nook, &mut self.served).is_ok();
        self.settle(number, stays);
    }

    /// Waits for what a client has to do next, or lets it go.
    fn settle(&mut self, number: u64, stays: bool) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let wanted = match client {
            _ if !stays => None,
            Client { to_say, .. } if !to_say.is_empty() => Some(EventFlags::OUT),
            // That it has hung up would be said again and again.
            Client { asked: Some(_), .. } => None,
            // A line that waits for the next turn does not come in again.
            _ if client.line_end().is_some() => Some(EventFlags::OUT),
            _ => Some(EventFlags::IN),
        };
        let data = EventData::new_u64(number);
        let changed = match (client.interest, wanted) {
            (None, Some(flags)) => epoll::add(&self.epoll, &client.stream, data, flags),
            (Some(_), None) => epoll::delete(&self.epoll, &client.stream),
            (Some(before), Some(flags)) if before != flags => epoll::modify(&self.epoll, &client.stream, data, flags),
            _ => Ok(()),
        };
        client.interest = wanted;
        if let Err(error) = changed {
            tracing::warn!("--serve: a client is let go: {error}");
        }
        if !stays || changed.is_err() {
            self.clients.remove(&number);
        }
    }
}

impl Client {
    /// Does what can be done without waiting, and answers one line at most: between two, the driver and other clients
    /// have their turn. An error is the end of the connection.
    fn go_on(&mut self, nook: &mut Nook<Misc>, served: &mut ServedReport) -> io::Result<()> {
        self.say()?;
        if !self.to_say.is_empty() || self.asked.is_some() {
            return Ok(());
        }
        while self.line_end().is_none() && self.heard.len() < MOST_LINE_BYTES {
            if !self.hear()? {
                return Ok(());
            }
        }
        if let Some(end) = self.line_end() {
            let said: Vec<u8> = self.heard.drain(..=end).collect();
            match asked(nook, &said[..end]) {
                Ok(ticket) => self.asked = Some(ticket),
                Err(why) => self.refuse(why, served),
            }
        } else if !self.ends {
            self.refuse(format!("a call is a line of at most {MOST_LINE_BYTES} bytes"), served);
            self.ends = true;
        }
        self.say()?;
        if self.ends && self.to_say.is_empty() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Returns where the first line that it said ends, if it has said a whole one.
    fn line_end(&self) -> Option<usize> {
        self.heard.iter().position(|&byte| byte == b'\n')
    }

    fn refuse(&mut self, why: String, served: &mut ServedReport) {
        served.calls += 1;
        self.to_say.extend(line(&Err((Reason::Invalid, why))).into_bytes());
    }

    /// Reads what is there; `false` if nothing is.
    fn hear(&mut self) -> io::Result<bool> {
        let mut bytes = [0; MOST_LINE_BYTES];
        let room = MOST_LINE_BYTES - self.heard.len();
        match self.stream.read(&mut bytes[..room]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                self.heard.extend(&bytes[..read]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Writes what there is to be said, as far as the other side takes it.
    fn say(&mut self) -> io::Result<()> {
        while !self.to_say.is_empty() {
            match self.stream.write(&self.to_say) {
                Ok(written) => drop(self.to_say.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Asks the driver for what a line says.
fn asked(nook: &mut Nook<Misc>, said: &[u8]) -> Result<u32, String> {
    let form = "a call is a line: an operation, a blank, and its input in hexadecimal, two digits each, or `-`";
    let said = std::str::from_utf8(said).map_err(|_| form)?;
    let (operation, input) = said.split_once(' ').unwrap_or((said, "-"));
    let input = unhex(input).filter(|_| operation.len() <= MOST_NAME_BYTES).ok_or(form)?;
    nook.ask(operation, input).map_err(|error: AskError| error.to_string())
}

/// Returns what is said to a client of an answer.
fn told(outcome: Result<Vec<u8>, Failure>) -> Outcome {
    outcome.map_err(|failure| {
        let reason = match failure {
            Failure::Refused(_) => Reason::Refused,
            Failure::Lost => Reason::Lost,
            Failure::GivenUp => Reason::GivenUp,
            Failure::NotAsked => Reason::Ended,
        };
        (reason, failure.to_string())
    })
}
