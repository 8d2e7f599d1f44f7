//! Files that are written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Puts a file with this text in the place of what is there.
///
/// # Errors
/// If it cannot be written; nothing is left of it then.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays, and what it leads to is replaced.
    let path = if path.is_symlink() { &fs::canonicalize(path)? } else { path };
    let mut file = draft(path)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Creates a new file in the folder of `path`, with the rights of any file that this user makes. It is removed unless
/// it gets its name.
pub fn draft(path: &Path) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns whether something else than a file or a folder is there: a pipe with a name, or /dev/stdout when it is one.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}
