//! Which QEMU is started, and where it finds what belongs to it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::QemuError;

/// The emulator's name.
const NAME: &str = "qemu-system-x86_64";

/// Where a QEMU keeps the modules that it loads (devices, accelerators), as its own variable for it is called.
const MODULES: &str = "QEMU_MODULE_DIR";

/// The variable that names the QEMU to use, as for [`QemuProgram::at`].
pub const NOOK_QEMU: &str = "NOOK_QEMU";

/// A QEMU: `qemu-system-x86_64` from PATH unless another one is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuProgram {
    path: PathBuf,
    modules: Option<PathBuf>,
    firmware: Option<PathBuf>,
}

impl Default for QemuProgram {
    fn default() -> Self {
        QemuProgram { path: NAME.into(), modules: None, firmware: None }
    }
}

impl QemuProgram {
    /// Returns the QEMU at `path`: the program itself, or a name that is looked up in PATH; or a folder into which a
    /// QEMU was installed or its packages were unpacked (`dpkg -x`). Of a folder the modules and the firmware are used
    /// with the program: modules of another QEMU would end it.
    ///
    /// # Errors
    /// If it is a folder without the program.
    pub fn at(path: &Path) -> Result<Self, QemuError> {
        if !path.is_dir() {
            return Ok(QemuProgram { path: path.into(), modules: None, firmware: None });
        }
        let prefix = ["usr", "usr/local", ""].map(|prefix| path.join(prefix));
        let prefix = prefix.iter().find(|prefix| prefix.join("bin").join(NAME).is_file());
        let Some(prefix) = prefix else { return Err(QemuError::NoProgram { folder: path.into() }) };
        let folder = |of: &Path| Some(of.join("qemu")).filter(|folder| folder.is_dir());
        let firmware = folder(&prefix.join("share"));
        Ok(QemuProgram { path: prefix.join("bin").join(NAME), modules: modules(&prefix.join("lib")), firmware })
    }

    /// Returns the QEMU that the variable [`NOOK_QEMU`] names, or `qemu-system-x86_64` from PATH.
    ///
    /// # Errors
    /// If it names a folder without the program.
    pub fn from_environment() -> Result<Self, QemuError> {
        match std::env::var_os(NOOK_QEMU) {
            Some(path) if !path.is_empty() => QemuProgram::at(Path::new(&path)),
            _ => Ok(QemuProgram::default()),
        }
    }

    /// Returns what is started.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the command with these arguments after those that say where things are.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = OsString>) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(firmware) = &self.firmware {
            command.arg("-L").arg(firmware);
        }
        if let Some(modules) = &self.modules {
            command.env(MODULES, modules);
        }
        command.args(args);
        command
    }
}

/// Returns the folder `qemu` in `lib`, or in a folder of one architecture there, as Debian has it: the one that holds
/// modules. (Debian has helpers in the first.) One without any is named too, so that no other QEMU's are loaded.
fn modules(lib: &Path) -> Option<PathBuf> {
    let below = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = std::iter::once(lib.to_owned()).chain(below(lib)).map(|folder| folder.join("qemu"));
    let mut found: Vec<PathBuf> = folders.filter(|it| it.is_dir()).collect();
    found.sort_by_key(|it| (!below(it).any(|file| file.extension().is_some_and(|ending| ending == "so")), it.clone()));
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_folder_program_modules_and_firmware_are_used_together() {
        let folder = tempfile::tempdir().unwrap();
        let missing = QemuProgram::at(folder.path()).unwrap_err().to_string();
        assert!(missing.contains(folder.path().to_str().unwrap()) && missing.contains(NAME), "{missing}");
        for name in ["usr/bin", "usr/lib/qemu", "usr/lib/x86_64-linux-gnu/qemu", "usr/share/qemu"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("usr/lib/qemu/qemu-bridge-helper"), "").unwrap();
        fs::write(folder.path().join("usr/lib/x86_64-linux-gnu/qemu/ui-curses.so"), "").unwrap();
        let path = folder.path().join("usr/bin").join(NAME);
        fs::write(&path, "").unwrap();
        let command = QemuProgram::at(folder.path()).unwrap().command(["-S".into()]);
        assert_eq!(command.get_program(), path);
        let firmware = folder.path().join("usr/share/qemu");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-L".as_ref(), firmware.as_os_str(), "-S".as_ref()]);
        let modules = folder.path().join("usr/lib/x86_64-linux-gnu/qemu");
        assert_eq!(command.get_envs().collect::<Vec<_>>(), [(MODULES.as_ref(), Some(modules.as_os_str()))]);
    }

    #[test]
    fn a_program_is_started_as_it_is() {
        let command = QemuProgram::at(Path::new("/opt/my-qemu")).unwrap().command(["-S".into()]);
        assert_eq!((command.get_program(), command.get_args().count()), ("/opt/my-qemu".as_ref(), 1));
        assert_eq!(command.get_envs().count(), 0);
    }
}
