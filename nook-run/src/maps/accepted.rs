//! Which register maps the operator has accepted: a file for each, named by the map file's SHA-256, in a folder that
//! only this user can write to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nook_runtime::check_private_directory;

use crate::state::VARIABLE;
use crate::{files, state};

/// The folder of accepted maps, which need not be there.
pub struct Accepted {
    folder: PathBuf,
}

impl Accepted {
    /// Opens the list in this state folder, or the user's.
    pub fn of(named: Option<&Path>) -> Result<Self> {
        let state = state::folder(named);
        let state = state.with_context(|| {
            format!("there is no folder for accepted register maps: name one with --state, {VARIABLE} or HOME")
        })?;
        Ok(Accepted { folder: state.join("maps") })
    }

    /// Returns whether a map with this hash was accepted.
    pub fn has(&self, sha256: &str) -> Result<bool> {
        match fs::symlink_metadata(self.folder.join(sha256)) {
            Ok(meta) => self.check_private().map(|()| meta.is_file()),
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot look into {}", self.folder.display())),
        }
    }

    /// Returns whether a map in this file was accepted, whatever stood in it.
    pub fn had(&self, path: &Path) -> bool {
        let wanted = content(path);
        if self.check_private().is_err() {
            return false;
        }
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text == wanted))
    }

    /// Remembers a map, and returns where.
    pub fn add(&self, sha256: &str, path: &Path) -> Result<PathBuf> {
        let place = self.folder.join(sha256);
        let cannot = || format!("cannot remember in {} that the map was accepted", place.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).with_context(cannot)?;
        self.check_private()?;
        files::replace(&place, &content(path)).with_context(cannot)?;
        Ok(place)
    }

    /// Checks that others cannot write to it: otherwise it says nothing about what this user accepts.
    fn check_private(&self) -> Result<()> {
        check_private_directory(&self.folder).map_err(|why| {
            anyhow!(
                "{} is not believed: {why}; mend the owner and the rights (chmod 700), or name another state folder with \
                 --state",
                self.folder.display()
            )
        })
    }
}

/// Returns what is remembered of a file besides its hash.
fn content(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("{}\n", path.display())
}
