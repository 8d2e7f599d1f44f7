//! What the operator says of a device: its name and options, written as for QEMU's `-device`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Options that are nook's to give, and why.
const OWNED: &[(&str, &str)] = &[
    ("driver", "the name of the device stands first"),
    ("id", "nook gives names"),
    ("bus", "nook says where the device is plugged in"),
    ("addr", "nook says where the device is plugged in"),
    ("multifunction", "nook drives function 0 only"),
    ("netdev", "nook plugs network cards into QEMU's user network"),
    ("failover_pair_id", "there is no second device"),
    ("drive", "name the drive's file with `file=PATH`"),
    ("chardev", "name the socket at the far end of a serial line with `socket=PATH`"),
    ("rng", "name what random bytes are read from with `random=PATH`"),
    ("romfile", "a guest's boot ROM, and there is no guest"),
];

/// A device of QEMU's with its options: `rtl8139`, `nvme,file=disk.img,mdts=3`.
///
/// Options are separated by commas, and a comma within a value is doubled, as QEMU has it. Four are nook's own: the
/// file of `file=PATH` becomes the device's drive, and what the drive is given to write and to flush is logged in that
/// of `write-log=PATH`, by QEMU's `blklogwrites`; the Unix socket of `socket=PATH`, which QEMU makes, is the far
/// end of the device's serial line, for one program at a time; and out of `random=PATH`, a FIFO or a device file, a
/// source of random bytes has them. All others are handed to QEMU unless they are nook's to
/// give. One of these always describes one device: neither names nor values can add a second one or another command
/// line option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    name: String,
    options: Vec<(String, String)>,
    file: Option<PathBuf>,
    write_log: Option<PathBuf>,
    socket: Option<PathBuf>,
    random: Option<PathBuf>,
}

/// Why a text describes no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No name that QEMU could have.
    #[error("{0:?} is no name of a device: names are letters, digits, `-`, `_` and `.`, such as e1000")]
    Name(String),
    /// Something between commas is not NAME=VALUE.
    #[error(
        "{option:?} is no option: options are NAME=VALUE, a comma within a value is doubled, and \
         `qemu-system-x86_64 -device {device},help` lists them"
    )]
    Option {
        /// The device.
        device: String,
        /// What stands where an option should.
        option: String,
    },
    /// An option that is nook's to give.
    #[error("`{option}` is not given here: {why}")]
    Owned {
        /// Its name.
        option: String,
        /// Who gives it instead.
        why: &'static str,
    },
    /// The same option a second time.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// There is nothing that could be logged.
    #[error("`write-log` logs what is written to a drive: give the drive's file, too, with `file=PATH`")]
    LogOfNothing,
}

impl DeviceSpec {
    /// Returns QEMU's name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names and values that go to QEMU as they are.
    pub(crate) fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// Returns whether QEMU is given this option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|(name, _)| name == option)
    }

    /// Returns the file that is to be its drive.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns it with the place of its drive's file as it is found from any folder.
    ///
    /// # Errors
    /// If the working directory is gone.
    pub fn from_anywhere(mut self) -> io::Result<Self> {
        self.file = self.file.map(std::path::absolute).transpose()?;
        Ok(self)
    }

    /// Returns the file to which is logged what the drive is given.
    pub(crate) fn write_log(&self) -> Option<&Path> {
        self.write_log.as_deref()
    }

    /// Returns the socket that is to be the far end of its line.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Returns what it is to read random bytes from.
    pub(crate) fn random(&self) -> Option<&Path> {
        self.random.as_deref()
    }
}

impl FromStr for DeviceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = split(text).into_iter();
        let name = parts.next().unwrap_or_default();
        if !is_name(&name) {
            return Err(SpecError::Name(name));
        }
        let mut spec =
            DeviceSpec { name, options: Vec::new(), file: None, write_log: None, socket: None, random: None };
        for part in parts {
            let bad = || SpecError::Option { device: spec.name.clone(), option: part.clone() };
            let (option, value) = part.split_once('=').ok_or_else(bad)?;
            if !is_name(option) || value.chars().any(char::is_control) {
                return Err(bad());
            }
            if let Some((_, why)) = OWNED.iter().find(|(name, _)| *name == option) {
                return Err(SpecError::Owned { option: option.into(), why });
            }
            let twice = match option {
                "file" => spec.file.is_some(),
                "write-log" => spec.write_log.is_some(),
                "socket" => spec.socket.is_some(),
                "random" => spec.random.is_some(),
                _ => spec.has(option),
            };
            if twice {
                return Err(SpecError::Twice(option.into()));
            }
            match (option, value) {
                ("file" | "write-log" | "socket" | "random", "") => return Err(bad()),
                ("file", path) => spec.file = Some(path.into()),
                ("write-log", path) => spec.write_log = Some(path.into()),
                ("socket", path) => spec.socket = Some(path.into()),
                ("random", path) => spec.random = Some(path.into()),
                _ => spec.options.push((option.into(), value.into())),
            }
        }
        if spec.write_log.is_some() && spec.file.is_none() {
            return Err(SpecError::LogOfNothing);
        }
        Ok(spec)
    }
}

/// As it can be given again.
impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (option, value) in &self.options {
            write!(f, ",{option}={}", escaped(value))?;
        }
        let paths = [&self.file, &self.write_log, &self.socket, &self.random];
        for (option, path) in ["file", "write-log", "socket", "random"].into_iter().zip(paths) {
            if let Some(path) = path {
                write!(f, ",{option}={}", escaped(&path.display().to_string()))?;
            }
        }
        Ok(())
    }
}

/// Returns a value as it stands between QEMU's commas.
pub(crate) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// Returns what stands between commas that are not doubled.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(char);
        }
    }
    parts
}

/// Letters, digits and a few signs; nothing that separates options, begins JSON or a command line option.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]".contains(&byte);
    text.bytes().all(allowed) && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<DeviceSpec, SpecError> {
        text.parse()
    }

    #[test]
    fn a_name_may_have_options_and_a_drive() {
        let spec = parse("nvme,mdts=3,file=/srv/a,,b.img,serial=x=y").unwrap();
        assert_eq!((spec.name(), spec.file()), ("nvme", Some(Path::new("/srv/a,b.img"))));
        assert_eq!(spec.options(), [("mdts".into(), "3".into()), ("serial".into(), "x=y".to_string())]);
        assert_eq!(parse("rtl8139").unwrap().to_string(), "rtl8139");
    }

    #[test]
    fn the_drives_file_is_found_from_any_folder_and_nothing_else_changes() {
        let here = std::env::current_dir().unwrap();
        let spec = parse("nvme,mdts=3,file=a.img,write-log=log").unwrap().from_anywhere().unwrap();
        assert_eq!(spec.to_string(), format!("nvme,mdts=3,file={},write-log=log", here.join("a.img").display()));
        assert_eq!(parse("edu").unwrap().from_anywhere().unwrap(), parse("edu").unwrap());
    }

    #[test]
    fn a_text_that_is_no_device_says_what_is_wrong() {
        for text in ["", ",", "-device", "{\"driver\":\"e1000\"}", "e1000 e1000e", "driver=e1000", "e1000,,x=1"] {
            assert!(matches!(parse(text), Err(SpecError::Name(_))), "{text:?}: {:?}", parse(text));
        }
        for text in ["e1000,", "e1000,help", "e1000,?", "e1000,=1", "e1000,a b=1", "nvme,file=", "e1000,a=\n"] {
            assert!(matches!(parse(text), Err(SpecError::Option { .. })), "{text:?}: {:?}", parse(text));
        }
        let message = parse("e1000,help").unwrap_err().to_string();
        assert!(message.contains("qemu-system-x86_64 -device e1000,help"), "{message}");
        assert_eq!(parse("nvme,mdts=1,mdts=2"), Err(SpecError::Twice("mdts".into())));
        assert_eq!(parse("nvme,file=a,file=b"), Err(SpecError::Twice("file".into())));
        assert_eq!(parse("nvme,write-log=a,file=b,write-log=a"), Err(SpecError::Twice("write-log".into())));
        assert_eq!(parse("nvme,write-log=a"), Err(SpecError::LogOfNothing));
    }

    #[test]
    fn options_that_are_nooks_to_give_are_refused_each_with_a_reason() {
        for (option, why) in OWNED {
            let error = parse(&format!("e1000,{option}=x")).unwrap_err();
            assert_eq!(error, SpecError::Owned { option: (*option).into(), why });
        }
    }

    /// Parses the value of `-device` as QEMU does (util/qemu-option.c): the first part is the name; then names up to
    /// `=`, and values up to a comma that is not doubled.
    fn as_qemu_reads_it(text: &str) -> Vec<(String, String)> {
        let mut read = Vec::new();
        let mut rest = &*format!("driver={text}");
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').expect("each part has a name");
            let (mut value, mut at) = (String::new(), 0);
            let bytes = after.as_bytes();
            while at < bytes.len() {
                if bytes[at] == b',' {
                    if bytes.get(at + 1) != Some(&b',') {
                        break;
                    }
                    at += 1;
                }
                let char = after[at..].chars().next().expect("within the text");
                value.push(char);
                at += char.len_utf8();
            }
            read.push((name.to_owned(), value));
            rest = after[at..].strip_prefix(',').unwrap_or("");
        }
        read
    }

    proptest! {
        #[test]
        fn what_is_written_out_is_read_back(
            name in "[a-z][a-z0-9._-]{0,9}",
            options in proptest::collection::btree_map("x[a-z0-9_.-]{0,6}", "[ -~é]{0,12}", 0..5),
            file in proptest::option::of("[ -~]{1,12}"),
            write_log in proptest::option::of("[ -~]{1,12}"),
            socket in proptest::option::of("[ -~]{1,12}"),
            random in proptest::option::of("[ -~]{1,12}"),
        ) {
            let (file, write_log) = (file.map(PathBuf::from), write_log.map(PathBuf::from));
            let write_log = write_log.filter(|_| file.is_some());
            let (socket, random) = (socket.map(PathBuf::from), random.map(PathBuf::from));
            let spec = DeviceSpec { name, options: options.into_iter().collect(), file, write_log, socket, random };
            prop_assert_eq!(parse(&spec.to_string()).unwrap(), spec);
        }

        #[test]
        fn whatever_is_accepted_is_one_device_to_qemu(text in "[a-z]{1,4}(,{1,3}[a-z]{0,6}=?[a-z,=]{0,6}){0,4}") {
            if let Ok(spec) = parse(&text) && spec.file().or(spec.socket()).or(spec.random()).is_none() {
                let read = as_qemu_reads_it(&spec.to_string());
                prop_assert_eq!(&read[0], &("driver".to_owned(), spec.name().to_owned()));
                prop_assert_eq!(&read[1..], spec.options());
            }
        }
    }
}
