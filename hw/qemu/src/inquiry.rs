//! What a QEMU itself says of a device, before it is started with one.
//!
//! Which devices there are, and what each can be given, differs between QEMUs. `-device NAME,help` lists the
//! properties of a device: one that has a place on a PCI bus, one that has a cable, or one that has a drive is known by
//! them.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{ChildStdout, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::deadline::Deadline;
use crate::process::Process;
use crate::{QemuError, QemuProgram};

/// More than any QEMU says of its devices.
const MOST_BYTES: u64 = 1 << 20;
/// How many names are suggested for one that is wrong.
const MOST_NEAR: usize = 3;
/// How alike a suggested name is at least: Jaro and Winkler's measure, of which 1 is the same.
const NEAR: f64 = 0.8;

/// A device's properties, by name and type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(Vec<(String, String)>);

impl Properties {
    /// Asks for the properties of a PCI device.
    ///
    /// # Errors
    /// If the program cannot be started, is no QEMU, or has no such PCI device.
    pub(crate) fn ask(program: &QemuProgram, device: &str, timeout: Duration) -> Result<Self, QemuError> {
        let answer = ask(program, &["-device", &format!("{device},help")], timeout)?;
        let Some(properties) = Properties::read(&answer.said) else {
            let version = ask(program, &["--version"], timeout)?;
            if !version.said.starts_with("QEMU emulator version") {
                return Err(QemuError::NotQemu { program: program.path().into(), what: version.how() });
            }
            return Err(QemuError::NoSuchDevice {
                device: device.into(),
                near: near(device, &pci_devices(program, timeout)),
                program: program.path().into(),
                words: answer.words,
            });
        };
        // Each PCI device has this one, and nothing else has.
        if !properties.has("multifunction") {
            return Err(QemuError::NotPci { device: device.into() });
        }
        Ok(properties)
    }

    fn read(text: &str) -> Option<Self> {
        let (head, lines) = text.split_once('\n')?;
        if !head.trim_end().ends_with(" options:") {
            return None;
        }
        let property = |line: &str| {
            let (name, rest) = line.trim_start().split_once("=<")?;
            // A type may itself have such brackets: `link<memory-backend>`.
            let end = rest.find("> ").unwrap_or(rest.trim_end().len().saturating_sub(1));
            Some((name.to_owned(), rest.get(..end)?.to_owned()))
        };
        Some(Properties(lines.lines().filter_map(property).collect()))
    }

    /// Returns whether the device has this property.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// Returns the type of a property.
    pub(crate) fn of(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, type_name)| type_name.as_str())
    }
}

/// Returns the names of a QEMU's PCI devices, other names of the same device among them. None if it cannot say: some
/// end over modules of another version that are installed.
fn pci_devices(program: &QemuProgram, timeout: Duration) -> Vec<String> {
    let said = ask(program, &["-device", "help"], timeout).map(|answer| answer.said).unwrap_or_default();
    let pci = said.lines().filter(|line| line.contains(", bus PCI"));
    pci.flat_map(|line| {
        let after = |key: &str| Some(line.split_once(key)?.1.split_once('"')?.0.to_owned());
        [after("name \""), after("alias \"")].into_iter().flatten()
    })
    .collect()
}

/// Returns those of `names` that are most like `name`, the nearest first. Itself may be among them, where a module is
/// missing.
fn near(name: &str, names: &[String]) -> Vec<String> {
    let mut near: Vec<(f64, &String)> = names.iter().map(|it| (strsim::jaro_winkler(name, it), it)).collect();
    near.retain(|(likeness, it)| *likeness >= NEAR && *it != name);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(MOST_NEAR).map(|(_, name)| name.clone()).collect()
}

/// What a program said, and how it ended.
struct Answer {
    said: String,
    /// The last lines of its standard error.
    words: String,
    ending: String,
}

impl Answer {
    /// Describes it for an error about another type.
    fn how(self) -> String {
        match self.said.lines().next() {
            Some(line) => format!("it answered {line:?} to --version"),
            None => format!("asked for its version, {}", self.ending),
        }
    }
}

/// Runs the program to its end and collects what it says.
fn ask(program: &QemuProgram, args: &[&str], timeout: Duration) -> Result<Answer, QemuError> {
    let failed = |source| QemuError::starting(program, source);
    let mut command = program.command(args.iter().map(OsString::from));
    command.stdout(Stdio::piped());
    let mut process = Process::spawn(command, &[]).map_err(failed)?;
    let mut said = Vec::new();
    if let Some(stdout) = process.take_stdout()
        && !read_all(stdout, &mut said, Deadline::after(timeout)).map_err(failed)?
    {
        let words = process.last_words();
        return Err(QemuError::Silent { program: program.path().into(), timeout, words });
    }
    let ending = process.ending();
    Ok(Answer { said: String::from_utf8_lossy(&said).into_owned(), words: process.last_words(), ending })
}

/// Reads to the end, or as much as is wanted, and closes; false if it is too late before.
fn read_all(stdout: ChildStdout, said: &mut Vec<u8>, deadline: Deadline) -> io::Result<bool> {
    let mut stdout = stdout.take(MOST_BYTES);
    let mut buffer = [0; 4096];
    while wait_for(stdout.get_ref(), deadline)? {
        match stdout.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(len) => said.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Returns whether there is something to read, or the end, before the time is over.
fn wait_for(file: &impl AsFd, deadline: Deadline) -> io::Result<bool> {
    loop {
        let Some(left) = deadline.left() else { return Ok(false) };
        let left = Timespec::try_from(left).ok();
        match rustix::event::poll(&mut [PollFd::new(file, PollFlags::IN)], left.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_with_their_types() {
        let text = "nvme options:\n  addr=<int32>           - Slot (default: -1)\n  drive=<str>            - Node\n  \
                    pmrdev=<link<memory-backend>>\n  share-rw=<bool>        -  (default: false)\n";
        let properties = Properties::read(text).unwrap();
        let of = |name| properties.of(name);
        assert_eq!([of("addr"), of("drive"), of("share-rw")], [Some("int32"), Some("str"), Some("bool")]);
        assert_eq!((of("pmrdev"), of("netdev")), (Some("link<memory-backend>"), None));
        assert_eq!(Properties::read("There are no options for nothing.\n"), None);
        assert_eq!(Properties::read(""), None);
    }

    #[test]
    fn names_that_are_like_a_wrong_one_are_found() {
        let names = ["rtl8139", "e1000", "e1000e", "e1000-82544gc", "virtio-blk-pci", "nvme"].map(str::to_owned);
        assert_eq!(near("rtl8193", &names), ["rtl8139"]);
        assert_eq!(near("e100", &names)[0], "e1000");
        assert_eq!(near("zzz", &names), [""; 0]);
    }
}
