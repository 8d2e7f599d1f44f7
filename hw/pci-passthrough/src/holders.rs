//! Which processes have a file open, so that "busy" can be answered with a name.

use std::fs;
use std::path::Path;

/// Processes that have `file` open, as "1234 (nook-run)"; only those that this user may look into.
pub(crate) fn holders_of(proc: &Path, file: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir(proc) else { return Vec::new() };
    let mut found: Vec<(u32, String)> = processes
        .flatten()
        .filter_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let open = fs::read_dir(process.path().join("fd")).ok()?;
            open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == file)).then(|| {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                (pid, format!("{pid} ({})", name.trim()))
            })
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_this_process_holds_is_found_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let held = folder.path().canonicalize().unwrap().join("held");
        let file = fs::File::create(&held).unwrap();
        // Only this process counts: one that another test is about to start has all of its files for a moment.
        let this = format!("{} (", std::process::id());
        let found = || holders_of(Path::new("/proc"), &held).iter().any(|who| who.starts_with(&this));
        assert!(found());
        drop(file);
        assert!(!found());
    }
}
