//! What others wrote and works on the disk while its driver crashes: fio's verification, and a file system.

use std::fs;
use std::io::{Error, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes at the disk's beginning that are theirs.
pub(super) const BYTES: u64 = 24 << 20;

/// What is said between a client and those who wait for it.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// It has begun to work in earnest.
    pub works: AtomicBool,
    /// It is to come to an end.
    pub stop: AtomicBool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Runs of fio, or files that were synced.
    pub rounds: u64,
    /// What went wrong.
    pub failures: Vec<String>,
    /// The program between kernel and server ended by itself, and with it the work: no verdict.
    pub bridge_ended: bool,
}

/// Runs a program to its end; its exit status and what it printed.
fn run(command: &mut Command) -> Result<(Option<i32>, String)> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| {
        let program = command.get_program().display();
        Error::other(format!("cannot start {program}: {error}; `cargo xtask setup` installs it"))
    })?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), text.into_owned()))
}

/// Writes with fio all over its part of the disk, flushes now and then, and has it verify, again and again until it is
/// to stop.
pub(super) fn fio(uri: &str, folder: &Path, signals: &Signals) -> Result<Done> {
    let mut done = Done::default();
    while done.rounds == 0 || !signals.stop.load(Ordering::Relaxed) {
        let mut fio = Command::new("fio");
        // Seeds differ, so that a block of an earlier run is no good one.
        fio.args(["--name=verify", "--ioengine=nbd", "--rw=randwrite", "--bs=4k", "--iodepth=32", "--randrepeat=0"]);
        fio.args(["--verify=crc32c", "--verify_fatal=1", "--fsync=64", "--end_fsync=1"]);
        fio.arg(format!("--uri={uri}")).arg(format!("--size={}", BYTES / 3)).current_dir(folder);
        let (code, said) = run(&mut fio)?;
        done.rounds += 1;
        signals.works.store(true, Ordering::Relaxed);
        if code != Some(0) || !said.contains("err= 0") {
            // It says first that it failed, then how fast it was, and at last at which block.
            let telling = said.lines().filter(|line| line.starts_with("verify:") || line.contains("error"));
            done.failures.push(format!("fio: {}", telling.collect::<Vec<_>>().join("\n")));
            break;
        }
    }
    Ok(done)
}

/// Makes a file system on its part of the disk and works on it: each worker writes files, syncs them, puts them in the
/// place of older ones, and syncs the folder; what was synced is kept beside. Then all is compared, through the driver
/// and a fresh bridge. In a separate mount and process namespace: nothing is left behind.
const EXT4: &str = r#"
bridge() {
    rm -f ready
    nbdfuse -P "$PWD/ready" "$PWD/fuse" "$URI" & bridge=$!
    until [ -e ready ]; do kill -0 $bridge || exit 99; sleep 0.02; done
}
failed() {
    kill -0 $bridge 2>/dev/null || exit 99
    echo "$1"
    exit 1
}
worker() {
    i=0
    until [ -e failed ] || { [ -e stop ] && [ $i -gt 0 ]; }; do
        i=$((i + 1))
        name=$1-$((i % 6))
        head -c $(((i * 7919 + $1 * 104729) % 150000 + 1)) /dev/urandom > new-$1
        { cp new-$1 "root/new-$1" && sync "root/new-$1" && mv "root/new-$1" "root/$name" && sync root; } ||
            { echo "worker $1 at file $i" >> failed; return; }
        mv new-$1 kept/$name
        echo >> synced
    done
}
mkdir -p fuse root kept
rm -rf kept/* failed synced
bridge
mkfs.ext4 -q -F fuse/nbd "$KIB"k || failed "mkfs failed"
mount -o loop,sizelimit=$((KIB * 1024)) fuse/nbd root || failed "mount failed"
for n in 1 2 3 4; do worker $n & workers="$workers $!"; done
wait $workers
[ ! -e failed ] || failed "a sync or a write failed: $(cat failed)"
umount root || failed "umount failed"
umount fuse || failed "umount of the bridge failed"
wait $bridge || exit 99
bridge
mount -o loop,ro,sizelimit=$((KIB * 1024)) fuse/nbd root || failed "the second mount failed"
for file in kept/*; do cmp "$file" "root/${file#kept/}" || failed "$file is not what was synced"; done
umount root && umount fuse && wait $bridge
exit 0
"#;

/// Compares the same in the image, once nothing runs any more.
const EXT4_AFTER: &str = r#"
e2fsck -fn "$IMAGE" || exit 1
mount -o loop,ro,sizelimit=$((KIB * 1024)) "$IMAGE" root || exit 1
for file in kept/*; do cmp "$file" "root/${file#kept/}" || exit 1; done
umount root
"#;

fn script(text: &str, folder: &Path) -> Command {
    let mut script = Command::new("unshare");
    script.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", text]);
    script.current_dir(folder).env("KIB", (BYTES >> 10).to_string());
    script
}

/// Works on a file system until it is to stop.
pub(super) fn ext4(uri: &str, folder: &Path, signals: &Signals) -> Result<Done> {
    let [end, synced] = ["stop", "synced"].map(|name| folder.join(name));
    for left in [&end, &synced] {
        let _ = fs::remove_file(left);
    }
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| run(script(EXT4, folder).env("URI", uri)));
        while !ran.is_finished() && !signals.stop.load(Ordering::Relaxed) {
            signals.works.store(synced.exists(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::write(&end, "")?;
        ran.join().unwrap_or_else(|_| Err(Error::other("the thread that waits for the script has panicked")))
    });
    let (code, said) = ran?;
    let synced = fs::read(synced).unwrap_or_default();
    let mut done = Done { rounds: synced.len() as u64, ..Done::default() };
    match code {
        Some(0) => {}
        Some(99) => done.bridge_ended = true,
        _ => done.failures.push(format!("ext4: {}", said.trim())),
    }
    Ok(done)
}

/// Checks the file system in the image after the run.
pub(super) fn ext4_after(image: &Path, folder: &Path) -> Result<Option<String>> {
    let (code, said) = run(script(EXT4_AFTER, folder).env("IMAGE", image))?;
    Ok((code != Some(0)).then(|| format!("after the run: {}", said.trim())))
}
