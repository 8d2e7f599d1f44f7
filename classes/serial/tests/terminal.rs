//! A pseudo-terminal as programs find it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;

use nook_abi::serial::{LineSettings, Parity, control};
use nook_serial::{PtyError, Terminal};
use nook_serial_api::{PortSettings, Received, SerialBackend};
use rustix::fs::OFlags;
use rustix::termios::{ControlModes, OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr};

const LINE: LineSettings = LineSettings { baud: 19_200, data_bits: 7, parity: Parity::Even, stop_bits: 1 };

struct Rig {
    terminal: Terminal,
    path: PathBuf,
    now_ns: u64,
    place: tempfile::TempDir,
}

fn rig() -> Rig {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("line");
    Rig { terminal: Terminal::open(&path, LINE).unwrap(), path, now_ns: 0, place }
}

impl Rig {
    /// Opens it as a program does.
    fn program(&mut self) -> File {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        File::from(rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).unwrap())
    }

    fn look(&mut self) -> PortSettings {
        self.now_ns += 1_000_000_000;
        self.terminal.service(self.now_ns).unwrap();
        self.terminal.wanted()
    }

    fn read(&mut self) -> Vec<u8> {
        let mut bytes = [0; 64];
        let read = self.terminal.read(&mut bytes).unwrap();
        bytes[..read].to_vec()
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let received: Vec<_> = bytes.iter().map(|&byte| Received { byte, errors: 0 }).collect();
        self.terminal.write(&received).unwrap()
    }
}

#[test]
fn bytes_pass_both_ways_as_they_are() {
    let mut rig = rig();
    let mut program = rig.program();
    rig.look();
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(rig.write(&all), 256);
    let mut got = vec![0; 256];
    program.read_exact(&mut got).unwrap();
    assert_eq!(got, all);
    program.write_all(b"\x03\r\n\x11").unwrap();
    assert_eq!(rig.read(), b"\x03\r\n\x11");
    assert_eq!(rig.read(), b"");
}

#[test]
fn a_program_raises_the_lines_and_what_comes_without_one_is_counted() {
    let mut rig = rig();
    assert_eq!((rig.look().control, rig.write(b"lost"), rig.read().len()), (0, 4, 0));
    let program = rig.program();
    assert_eq!(rig.look().control, control::DTR | control::RTS);
    drop(program);
    assert_eq!((rig.look().control, rig.write(b"too"), rig.terminal.unread()), (0, 3, 7));
    assert_eq!(rig.terminal.opened(), 1);
    let mut fds = Vec::new();
    rig.terminal.event_fds(&mut fds);
    assert_eq!(fds, [], "it would be readable all the time");
}

#[test]
fn rate_stop_bits_and_flow_are_the_programs_and_the_rest_is_the_operators() {
    let mut rig = rig();
    let program = rig.program();
    assert_eq!(rig.look().line, LINE);
    let mut termios = tcgetattr(&program).unwrap();
    termios.set_speed(57_600).unwrap();
    termios.control_modes |= ControlModes::CSTOPB | ControlModes::CRTSCTS | ControlModes::PARENB;
    tcsetattr(&program, OptionalActions::Now, &termios).unwrap();
    let wanted = rig.look();
    assert_eq!((wanted.line, wanted.flow), (LineSettings { baud: 57_600, stop_bits: 2, ..LINE }, true));
    termios.set_speed(0).unwrap();
    tcsetattr(&program, OptionalActions::Now, &termios).unwrap();
    let wanted = rig.look();
    assert_eq!((wanted.line.baud, wanted.control), (57_600, 0), "a rate of 0 hangs up");
}

#[test]
fn a_program_that_had_it_for_itself_alone_leaves_it_to_the_next() {
    let mut rig = rig();
    let program = rig.program();
    ioctl_tiocexcl(&program).unwrap();
    rig.look();
    drop(program);
    rig.look();
    let mut next = rig.program();
    rig.look();
    next.write_all(b"again").unwrap();
    assert_eq!(rig.read(), b"again");
}

#[test]
fn what_is_in_the_way_stays_and_a_link_that_was_left_is_replaced() {
    let rig = rig();
    let file = rig.place.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = Terminal::open(&file, LINE).unwrap_err();
    assert!(matches!(&error, PtyError::InTheWay { path } if *path == file), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let left = rig.place.path().join("left");
    std::os::unix::fs::symlink("/dev/pts/4000000", &left).unwrap();
    let terminal = Terminal::open(&left, LINE).unwrap();
    assert!(fs::metadata(&left).is_ok());
    drop(terminal);
    assert!(fs::symlink_metadata(&left).is_err(), "nothing is left behind");
    assert!(fs::symlink_metadata(&rig.path).is_ok());
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let error = Terminal::open("/nowhere/line".as_ref(), LINE).unwrap_err().to_string();
    assert!(error.starts_with("cannot make a pseudo-terminal at \"/nowhere/line\": "), "{error}");
}
