//! An archive that Linux unpacks as its first root file system: cpio's "newc" format (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive in the making. Folders appear by themselves.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds a file, at a path without the leading `/`.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.parents(path);
        self.entry(path, FILE, content);
    }

    /// Adds a file that can be executed.
    pub fn program(&mut self, path: &str, content: &[u8]) {
        self.parents(path);
        self.entry(path, PROGRAM, content);
    }

    /// Returns the archive's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let folder = &path[..at];
            if self.folders.insert(folder.to_string()) {
                self.entry(folder, DIRECTORY, &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let (size, name_size) = (content.len() as u32, path.len() as u32 + 1);
        // Inode, mode, user, group, links, time, size, device (2), special device (2), length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mode, path and content of each entry, read as the kernel does.
    fn entries(mut bytes: &[u8]) -> Vec<(u32, String, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                u32::from_str_radix(std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let path = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let from = (110 + name_size).next_multiple_of(4);
            if path == "TRAILER!!!" {
                return found;
            }
            found.push((mode, path, bytes[from..from + size].to_vec()));
            bytes = &bytes[(from + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn files_come_after_their_folders_and_each_folder_once() {
        let mut archive = Archive::default();
        archive.program("bin/busybox", b"ELF");
        archive.file("lib/a/one", b"12345");
        archive.file("lib/a/two", b"");
        let paths: Vec<_> =
            entries(&archive.finish()).into_iter().map(|(mode, path, content)| (mode, path, content.len())).collect();
        let expected = [
            (DIRECTORY, "bin", 0),
            (PROGRAM, "bin/busybox", 3),
            (DIRECTORY, "lib", 0),
            (DIRECTORY, "lib/a", 0),
            (FILE, "lib/a/one", 5),
            (FILE, "lib/a/two", 0),
        ];
        assert_eq!(paths, expected.map(|(mode, path, len)| (mode, path.to_string(), len)));
    }
}
