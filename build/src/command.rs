//! Running commands so that a failure says what was run, where it stands and what came back.

use anyhow::{Context, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Returns the command as one would type it, for messages: `cargo`, not the path of the toolchain's.
pub fn shown(command: &Command) -> String {
    let program = command.get_program();
    let program = if env::var_os("CARGO").is_some_and(|cargo| cargo == program) { "cargo".as_ref() } else { program };
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs with inherited output; an error if it cannot start or does not end with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = spawn(command)?.wait().with_context(|| format!("waiting for `{}`", shown(command)))?;
    check(command, status)
}

/// Runs and returns what it printed; an error (with its stderr) if it cannot start or does not end with 0.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().map_err(|e| cannot_start(command, e))?;
    if !out.status.success() {
        let stderr = String::from_utf8_lossy(&out.stderr);
        let said = if stderr.trim().is_empty() { String::new() } else { format!(": {}", stderr.trim()) };
        bail!("`{}` ended with {}{said}", shown(command), out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("`{}` printed what is not UTF-8", shown(command)))
}

/// Runs with inherited output for `limit` at most, then kills it: for what may hang on a network.
pub fn run_limited(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = spawn(command.stdin(Stdio::null()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("waiting for `{}`", shown(command)))? {
            return check(command, status);
        }
        if start.elapsed() >= limit {
            // It may have ended since we looked; either way it must be reaped.
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{}` did not end within {} s and was killed", shown(command), limit.as_secs_f32());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the command; the error says when the program is not installed.
pub fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|e| cannot_start(command, e))
}

/// Returns an error that names the command, unless it ended with 0.
pub fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` ended with {status}", shown(command))
}

fn cannot_start(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    if error.kind() == ErrorKind::NotFound {
        anyhow::anyhow!("cannot start `{}`: {program} is not installed, or not in PATH", shown(command))
    } else {
        anyhow::Error::new(error).context(format!("cannot start `{}`", shown(command)))
    }
}

/// Returns where PATH has this program; the administrator's folders are searched too, as users' PATH often lacks them.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_in(name, env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]))
}

fn find_in(name: impl AsRef<OsStr>, folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    folders.map(|folder| folder.join(name.as_ref())).find(executable)
}

/// Writes the file unless it holds these bytes already, so that its time changes only when its content does.
/// Returns whether it wrote. The new content appears at once or not at all.
pub fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let name = path.file_name().context("a file without a name")?.to_string_lossy();
    let partial = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&partial, content).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("moving {} to {}", partial.display(), path.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["build", "--profile", "a b", ""]);
        assert_eq!(shown(&command), "cargo build --profile 'a b' ''");
    }

    #[test]
    fn a_failing_command_is_named_with_its_status_and_stderr() {
        let message = format!("{:#}", output(&mut sh("echo gone wrong >&2; exit 3")).unwrap_err());
        assert!(message.contains("exit status: 3") && message.contains("gone wrong"), "{message}");
        let message = format!("{:#}", run(&mut sh("exit 4")).unwrap_err());
        assert!(message.contains("exit status: 4") && message.contains("sh -c"), "{message}");
    }

    #[test]
    fn a_program_that_is_not_installed_is_named() {
        let message = format!("{:#}", run(&mut Command::new("no-such-program-here")).unwrap_err());
        assert!(message.contains("no-such-program-here is not installed"), "{message}");
    }

    #[test]
    fn a_command_over_its_limit_is_killed_and_says_so() {
        let message = format!("{:#}", run_limited(&mut sh("exec sleep 600"), Duration::from_millis(50)).unwrap_err());
        assert!(message.contains("did not end within"), "{message}");
    }

    #[test]
    fn a_command_within_its_limit_returns_its_own_status() {
        run_limited(&mut sh("exit 0"), Duration::from_secs(60)).unwrap();
        let message = format!("{:#}", run_limited(&mut sh("exit 5"), Duration::from_secs(60)).unwrap_err());
        assert!(message.contains("exit status: 5"), "{message}");
    }

    #[test]
    fn only_executable_files_count_as_programs() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_in("passwd", ["/etc".into()].into_iter()), None);
    }

    #[test]
    fn an_unchanged_file_is_not_written_again() {
        let folder = env::temp_dir().join(format!("nook-xtask-write-{}", std::process::id()));
        let file = folder.join("inner").join("a.wasm");
        assert!(write_if_changed(&file, b"one").unwrap());
        assert!(!write_if_changed(&file, b"one").unwrap());
        assert!(write_if_changed(&file, b"two").unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no partial file is left");
        fs::remove_dir_all(folder).unwrap();
    }
}
