//! The far end of one card's cable: a host at 10.0.2.2 in this process. It answers ARP and echo requests, as the other
//! cards' user networks do, and sends its own echo requests when a case asks for it. So the same traffic comes to
//! any driver, also to one that has no network stack above it and only sends back what it gets; and what passes is
//! counted where it arrives.

use anyhow::{Context, Result, bail};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Ours, and the card's.
const OUR_MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
const OUR_ADDRESS: [u8; 4] = [10, 0, 2, 2];
const CARDS_ADDRESS: [u8; 4] = [10, 0, 2, 15];
/// What an echo request holds besides its headers: as much as ping's.
const PAYLOAD_BYTES: usize = 56;
/// Marks our requests.
const IDENTIFIER: [u8; 2] = *b"nk";
/// Between requests that are sent one at a time: a driver that waits for interrupts sleeps meanwhile.
const APART: Duration = Duration::from_millis(50);
/// An emulated guest may be slow, but what takes longer than this is lost.
const PATIENCE: Duration = Duration::from_secs(20);
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// A frame that is longer is none (QEMU's own limit is 64 KiB and some bytes).
const LONGEST_FRAME: usize = 1 << 17;

const ARP: [u8; 2] = [8, 6];
const IPV4: [u8; 2] = [8, 0];
const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// What the cable has seen.
#[derive(Debug, Default)]
struct Seen {
    /// The card's address, once it has told.
    mac: Option<[u8; 6]>,
    /// Answers to our echo requests, and frames both ways, since they were last set to zero.
    answered: u32,
    frames: u64,
    /// Why nothing more will come.
    ended: Option<String>,
}

/// What the thread that listens and the one that asks share.
struct Cable {
    to_card: Mutex<TcpStream>,
    seen: Mutex<Seen>,
    news: Condvar,
}

/// The place at which QEMU finds the cable's end.
pub struct Socket {
    listener: TcpListener,
    /// On the loopback interface.
    pub port: u16,
}

impl Socket {
    /// Listens on a free port.
    pub fn new() -> Result<Socket> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening on the loopback interface")?;
        listener.set_nonblocking(true).context("listening without waiting")?;
        let port = listener.local_addr().context("asking for a port")?.port();
        Ok(Socket { listener, port })
    }

    /// Returns the peer, when QEMU runs: it connects as it starts.
    pub fn peer(&self) -> Result<Peer> {
        let (stream, _) = self.listener.accept().context("QEMU has not connected the cable of its card")?;
        let prepared = stream.set_nonblocking(false).and_then(|()| stream.set_nodelay(true));
        let to_card = prepared.and_then(|()| stream.try_clone()).context("preparing the cable of a card")?;
        let cable = Cable { to_card: Mutex::new(to_card), seen: Mutex::default(), news: Condvar::new() };
        let cable = Arc::new(cable);
        let listening = cable.clone();
        thread::spawn(move || listening.listen(stream));
        Ok(Peer { cable })
    }
}

/// What became of a number of echo requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Pinged {
    /// Requests that were answered.
    pub answered: u32,
    /// Frames that passed, both ways, others included.
    pub frames: u64,
}

/// The host at the cable's end.
pub struct Peer {
    cable: Arc<Cable>,
}

impl Peer {
    /// Waits until the card answers an echo request. False if it does not.
    pub fn meet(&self) -> Result<bool> {
        let end = Instant::now() + PATIENCE;
        self.cable.seen()?.mac = None;
        self.cable.seen()?.answered = 0;
        while Instant::now() < end {
            let mac = self.cable.seen()?.mac;
            self.cable.send(&mac.map_or_else(arp_request, |mac| echo_request(mac, 0)))?;
            if self.cable.wait(ASK_AGAIN, |seen| seen.answered > 0 || mac.is_none() && seen.mac.is_some())?.answered > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends `count` echo requests, `at_once` of them at a time: the next ones when those are answered, or lost; single
    /// ones a while apart.
    pub fn ping(&self, count: u32, at_once: u32) -> Result<Pinged> {
        let Some(mac) = self.cable.seen()?.mac else { bail!("the card was not met yet") };
        // What was answered late belongs to what was before.
        thread::sleep(APART);
        let mut seen = self.cable.seen()?;
        (seen.answered, seen.frames) = (0, 0);
        drop(seen);
        let mut sent = 0;
        while sent < count {
            let end = count.min(sent.saturating_add(at_once.max(1)));
            while sent < end {
                self.cable.send(&echo_request(mac, sent as u16))?;
                sent += 1;
            }
            if self.cable.wait(PATIENCE, |seen| seen.answered >= sent)?.answered < sent {
                break;
            }
            if at_once <= 1 {
                thread::sleep(APART);
            }
        }
        let seen = self.cable.seen()?;
        Ok(Pinged { answered: seen.answered, frames: seen.frames })
    }
}

impl Cable {
    fn seen(&self) -> Result<MutexGuard<'_, Seen>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &seen.ended {
            Some(reason) => bail!("the cable of the card has ended: {reason}"),
            None => Ok(seen),
        }
    }

    /// Waits for something, and returns what is so then.
    fn wait(&self, limit: Duration, mut come: impl FnMut(&Seen) -> bool) -> Result<MutexGuard<'_, Seen>> {
        let waited = self.news.wait_timeout_while(self.seen()?, limit, |seen| seen.ended.is_none() && !come(seen));
        drop(waited.map_err(|_| anyhow::anyhow!("the thread that listens to the cable has panicked"))?);
        self.seen()
    }

    fn send(&self, frame: &[u8]) -> Result<()> {
        self.seen()?.frames += 1;
        let mut stream = self.to_card.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *stream, frame).context("sending a frame to the card")
    }

    /// Takes what the card sends until QEMU goes away.
    fn listen(&self, mut stream: TcpStream) {
        let ended = loop {
            let frame = match read_frame(&mut stream) {
                Ok(frame) => frame,
                Err(error) => break error.to_string(),
            };
            let answer = self.take(&frame);
            if let Some(Err(error)) = answer.map(|answer| self.send(&answer)) {
                break format!("{error:#}");
            }
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).ended = Some(ended);
        self.news.notify_all();
    }

    /// Notes what a frame says, and returns what it asks for.
    fn take(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.frames += 1;
        let heard = hear(frame);
        match heard {
            Some(Heard::ArpReply(mac)) => seen.mac = Some(mac),
            Some(Heard::EchoReply) => seen.answered += 1,
            _ => {}
        }
        drop(seen);
        self.news.notify_all();
        match heard {
            Some(Heard::ArpRequest) => Some(arp_reply(frame)),
            Some(Heard::EchoRequest) => Some(echo_reply(frame)),
            _ => None,
        }
    }
}

/// QEMU's `-netdev socket` puts the length before each frame, in network order.
fn read_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > LONGEST_FRAME {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a frame of {len} bytes")));
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(stream: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend(frame);
    stream.write_all(&bytes)
}

/// What a frame is to us.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    ArpRequest,
    ArpReply([u8; 6]),
    EchoRequest,
    EchoReply,
}

/// Reads Ethernet, then ARP (RFC 826) or IPv4 without options (RFC 791) and ICMP (RFC 792).
fn hear(frame: &[u8]) -> Option<Heard> {
    let part = |from: usize, len: usize| frame.get(from..from + len);
    if part(12, 2)? == ARP {
        return match (part(20, 2)?, part(28, 4)?, part(38, 4)?) {
            ([0, 1], _, to) if to == OUR_ADDRESS => Some(Heard::ArpRequest),
            ([0, 2], from, _) if from == CARDS_ADDRESS => Some(Heard::ArpReply(part(22, 6)?.try_into().ok()?)),
            _ => None,
        };
    }
    if part(12, 2)? != IPV4 || part(14, 1)? != [0x45] || part(23, 1)? != [ICMP] || part(30, 4)? != OUR_ADDRESS {
        return None;
    }
    match part(34, 1)? {
        [ECHO_REQUEST] => Some(Heard::EchoRequest),
        [ECHO_REPLY] if part(38, 2)? == IDENTIFIER => Some(Heard::EchoReply),
        _ => None,
    }
}

/// Ethernet and ARP: `operation`, to whom in Ethernet and in ARP.
fn arp(operation: u8, to: [u8; 6], target: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut frame = [to, OUR_MAC].concat();
    frame.extend(ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
    frame.extend(OUR_MAC);
    frame.extend(OUR_ADDRESS);
    frame.extend(target);
    frame.extend(address);
    frame.resize(60, 0);
    frame
}

fn arp_request() -> Vec<u8> {
    arp(1, [0xff; 6], [0; 6], CARDS_ADDRESS)
}

/// To a frame that [`hear`] has taken for a request.
fn arp_reply(request: &[u8]) -> Vec<u8> {
    let (mut mac, mut address) = ([0; 6], [0; 4]);
    mac.copy_from_slice(&request[22..28]);
    address.copy_from_slice(&request[28..32]);
    arp(2, mac, mac, address)
}

fn echo_request(mac: [u8; 6], number: u16) -> Vec<u8> {
    let mut frame = [mac, OUR_MAC].concat();
    frame.extend(IPV4);
    let len = (20 + 8 + PAYLOAD_BYTES) as u16;
    frame.extend([0x45, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, ICMP, 0, 0]);
    frame.extend(OUR_ADDRESS);
    frame.extend(CARDS_ADDRESS);
    frame.extend([ECHO_REQUEST, 0, 0, 0]);
    frame.extend(IDENTIFIER);
    frame.extend(number.to_be_bytes());
    frame.extend((0..PAYLOAD_BYTES).map(|i| i as u8));
    put_checksum(&mut frame, 14..34, 24);
    let end = frame.len();
    put_checksum(&mut frame, 34..end, 36);
    frame
}

/// To a frame that [`hear`] has taken for a request: the same, turned round.
fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut frame = request.to_vec();
    frame[..6].copy_from_slice(&request[6..12]);
    frame[6..12].copy_from_slice(&OUR_MAC);
    frame[26..30].copy_from_slice(&OUR_ADDRESS);
    frame[30..34].copy_from_slice(&request[26..30]);
    frame[34] = ECHO_REPLY;
    // A short frame is padded: ICMP ends where IPv4 says.
    let end = (14 + usize::from(u16::from_be_bytes([request[16], request[17]]))).clamp(38, frame.len());
    put_checksum(&mut frame, 34..end, 36);
    frame
}

/// The Internet checksum (RFC 1071) over a part of the frame, put at `at` in it.
fn put_checksum(frame: &mut [u8], over: std::ops::Range<usize>, at: usize) {
    frame[at..at + 2].fill(0);
    let sum = checksum(&frame[over]);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// Returns what a card that answers by itself makes of an echo request: addresses change places, and the type.
    fn answered(request: &[u8]) -> Vec<u8> {
        let mut frame = request.to_vec();
        frame[..6].copy_from_slice(&request[6..12]);
        frame[6..12].copy_from_slice(&request[..6]);
        frame[26..30].copy_from_slice(&request[30..34]);
        frame[30..34].copy_from_slice(&request[26..30]);
        frame[34] = ECHO_REPLY;
        frame
    }

    #[test]
    fn what_is_asked_and_answered_is_distinguished_and_checksums_are_right() {
        let request = echo_request(CARD, 7);
        assert_eq!((request.len(), checksum(&request[14..34]), checksum(&request[34..])), (98, 0, 0));
        // It is not to us.
        assert_eq!(hear(&request), None);
        assert_eq!(hear(&answered(&request)), Some(Heard::EchoReply));
        let asked =
            [&[&OUR_MAC[..], &CARD, &request[12..26], &CARDS_ADDRESS, &OUR_ADDRESS].concat(), &request[34..]].concat();
        assert_eq!(hear(&asked), Some(Heard::EchoRequest));
        let reply = echo_reply(&asked);
        assert_eq!((&reply[..6], checksum(&reply[34..]), reply[34]), (&CARD[..], 0, ECHO_REPLY));
        assert_eq!(hear(&arp_request()), None);
        let mut asks = arp(1, [0xff; 6], [0; 6], OUR_ADDRESS);
        asks[22..28].copy_from_slice(&CARD);
        assert_eq!(hear(&asks), Some(Heard::ArpRequest));
        assert_eq!(arp_reply(&asks)[..6], CARD);
        let mut told = arp_reply(&asks);
        told[22..28].copy_from_slice(&CARD);
        told[28..32].copy_from_slice(&CARDS_ADDRESS);
        assert_eq!(hear(&told), Some(Heard::ArpReply(CARD)));
        for len in 0..60 {
            assert_eq!(hear(&told[..len.min(31)]), None);
        }
    }

    #[test]
    fn a_card_is_met_and_answers_and_what_it_loses_is_seen() {
        let socket = Socket::new().unwrap();
        let mut card = TcpStream::connect((Ipv4Addr::LOCALHOST, socket.port)).unwrap();
        let peer = socket.peer().unwrap();
        assert!(peer.ping(1, 1).unwrap_err().to_string().contains("was not met"));
        let answering = thread::spawn(move || {
            let mut echoed = 0;
            while echoed < 1 + 70 {
                let frame = read_frame(&mut card).unwrap();
                let answer = if frame[12..14] == ARP {
                    let mut told = arp(2, OUR_MAC, OUR_MAC, OUR_ADDRESS);
                    told[22..28].copy_from_slice(&CARD);
                    told[28..32].copy_from_slice(&CARDS_ADDRESS);
                    told
                } else {
                    echoed += 1;
                    answered(&frame)
                };
                write_frame(&mut card, &answer).unwrap();
            }
            card
        });
        assert!(peer.meet().unwrap());
        assert_eq!(peer.ping(70, 32).unwrap(), Pinged { answered: 70, frames: 140 });
        drop(answering.join().unwrap());
        let ended = peer.ping(1, 1).unwrap_err();
        assert!(format!("{ended:#}").contains("cable") || format!("{ended:#}").contains("sending"), "{ended:#}");
    }
}
