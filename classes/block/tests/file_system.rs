//! A file system above the server: ext4 on a loop device on nbdfuse. It takes root.

mod rig;

use std::process::Command;

use nook_block_api::Op;
use rig::{Plan, run};

/// In a mount namespace, so that nothing is left behind. The loop device goes with its mount.
const SCRIPT: &str = r#"
mkdir fuse root
nbdfuse -P "$PWD/ready" "$PWD/fuse" "$URI" &
bridge=$!
while [ ! -e ready ]; do kill -0 $bridge; sleep 0.1; done
mkfs.ext4 -q fuse/nbd
mount -o loop fuse/nbd root
for i in 1 2 3 4 5 6 7 8; do
    head -c "$((i * 300000))" /dev/urandom > root/file$i
    cp root/file$i copy$i
    sync root/file$i
done
rm root/file3 root/file6
fstrim root
head -c 5000000 /dev/urandom > root/late
cp root/late late
sync root/late
umount root
umount fuse
wait $bridge
"#;

#[test]
#[ignore = "needs root"]
fn ext4_is_whole_and_what_was_synced_is_there_after_a_power_cut() {
    let serving = Plan { seed: 4, ..Plan::disk(64) }.serve();
    let mut script = Command::new("unshare");
    script.args(["--mount", "sh", "-ec", SCRIPT]).env("URI", &serving.uri);
    run(script.current_dir(serving.folder.path()));
    let copies = ["file1", "file2", "file4", "file5", "file7", "file8", "late"]
        .map(|name| (name, rig::content(&serving.path(&name.replace("file", "copy")))));
    let kept = tempfile::tempdir().unwrap();
    let medium = serving.end();
    assert!(medium.counts[&Op::Flush] > 0 && medium.counts[&Op::WriteZeroes] > 0);
    let image = kept.path().join("image");
    std::fs::write(&image, &medium.durable).unwrap();
    run(Command::new("e2fsck").arg("-fn").arg(&image));
    for (name, bytes) in copies {
        let copy = kept.path().join(name);
        run(Command::new("debugfs").args(["-R", &format!("dump {name} {}", copy.display())]).arg(&image));
        assert!(rig::content(&copy) == bytes, "{name} is not what was synced");
    }
}
