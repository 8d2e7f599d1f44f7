# What is shown of disks inside the guest, and the words for it. Sourced by init, after words.sh; see cases.sh for what a
# case is.
#
# Settings: DISK (the slot of an NVM Express controller, whose serial number is guest-disk), DISK_MIB (its length).
# The exercise of nook-run writes to the first 64 MiB; behind them is a file system that Linux makes and mounts.

BLOCKS=/dev/nvme0n1
FILES_AT_MIB=64

# Gives the disk to Linux's own driver and waits until its blocks are there.
disk_to_linux() {
    give "$DISK" nvme
    wait_for 20 test -b "$BLOCKS" || fail "Linux's driver makes no $BLOCKS"
}

# Makes a file system: what mke2fs wants besides.
make_files() {
    load crc32c_generic
    load ext4
    /usr/bin/mke2fs -q -F -t ext4 "$@"
}

# Copies the drivers to /mnt, which is mounted, and notes their hashes in /tmp/hashes.
copy_files() {
    cp -r /drivers "/mnt/$1"
    (cd /mnt && find . -type f | sort | xargs sha1sum) > /tmp/hashes
}

# Fails if /mnt does not hold what was noted. What the kernel has cached is not asked.
files_are_as_noted() {
    (cd /mnt && sha1sum -c /tmp/hashes > /tmp/checked 2>&1) || fail "$1: $(grep -v ': OK' /tmp/checked | head -n 3 | tr '\n' ' ')"
}

# Mounts the file system on $1.
mount_files() {
    mkdir -p /mnt
    echo 3 > /proc/sys/vm/drop_caches
    mount -t ext4 "$1" /mnt
}

# Fails if the file system on $1 has an error.
files_are_whole() {
    /usr/bin/e2fsck -f -n "$1" > /tmp/checked 2>&1 || fail "e2fsck of $1: $(tail -n 3 /tmp/checked | tr '\n' ' ')"
}

# The hash of $3 MiB of the device $1 from the MiB $2 on.
hash_of() {
    echo 3 > /proc/sys/vm/drop_caches
    dd if="$1" bs=1M skip="$2" count="$3" 2> /dev/null | sha1sum | cut -d' ' -f1
}

# Runs nook-run's driver, or the one that DRIVER names, on the disk with the options, to its end, which must be status $1.
disk_run() {
    local wanted status
    wanted=$1
    status=0
    shift
    give "$DISK" vfio-pci
    nook-run "/drivers/${DRIVER:-nvme}.wasm" --pci "00:$DISK.0" --json /tmp/report.json "$@" > /tmp/said 2>&1 || status=$?
    cat /tmp/said
    [ "$status" = "$wanted" ] || fail "nook-run $* ended with $status: $(tail -n 3 /tmp/said | tr '\n' ' ')"
}

# Fails if the device reached outside its window: QEMU's controller says success all the same.
no_access_was_blocked() {
    [ "$(number dma_faults /tmp/report.json)" = 0 ] || fail "$1: $(number dma_faults /tmp/report.json) accesses were blocked"
    [ "$(dmesg | grep -c "DMAR:.*Request device \[00:$DISK.0\]" || true)" = 0 ] || fail "$1: the kernel tells of DMAR faults"
}

# Fails if the disk holds something else than was noted in $files and $first.
disk_is_as_noted() {
    [ "$(hash_of "$BLOCKS" "$FILES_AT_MIB" $((DISK_MIB - FILES_AT_MIB)))" = "$files" ] || fail "$1: behind what was written the disk has changed"
    [ "$(hash_of "$BLOCKS" 0 "$FILES_AT_MIB")" = "$first" ] || fail "$1: the first $FILES_AT_MIB MiB are not what they should be"
}

# A disk of Linux's nvme driver is read by nook-run's and not changed; what that writes, Linux's reads, and the rest stays. [240]
case_disk_goes_from_linux_to_nook_and_back() {
    dmesg -c > /dev/null
    disk_to_linux
    head -c 4194304 /dev/urandom > /tmp/pattern
    for at in 0 4 8 12 16 20 24 28 32 36 40 44 48 52 56 60; do
        dd if=/tmp/pattern of="$BLOCKS" bs=1M seek="$at" conv=notrunc 2> /dev/null
    done
    load loop
    at=$((FILES_AT_MIB << 20))
    make_files -E "offset=$at" "$BLOCKS" $((DISK_MIB - FILES_AT_MIB))M
    losetup -o "$at" /dev/loop0 "$BLOCKS"
    mount_files /dev/loop0
    copy_files by_linux
    umount /mnt
    losetup -d /dev/loop0
    sync
    files=$(hash_of "$BLOCKS" "$FILES_AT_MIB" $((DISK_MIB - FILES_AT_MIB)))
    first=$(hash_of "$BLOCKS" 0 "$FILES_AT_MIB")

    # To be read it need not be named.
    disk_run 0 --exercise read
    no_access_was_blocked "reading"
    grep -q '"interrupts": "msix"' /tmp/report.json || fail "interrupts: $(grep '"interrupts"' /tmp/report.json)"
    [ "$(number irqs /tmp/report.json)" -gt 0 ] || fail "no interrupt came"
    result "{\"reset\": \"$(cat "$(card "$DISK")/reset_method")\", \"reads\": $(number reads /tmp/report.json), \"interrupts\": $(number irqs /tmp/report.json)}"
    refused "would be lost" nook-run /drivers/nvme.wasm --pci "00:$DISK.0" --exercise write
    refused "serial number is .guest-disk" nook-run /drivers/nvme.wasm --pci "00:$DISK.0" --exercise write --destroy-data other
    disk_to_linux
    disk_is_as_noted "after nook-run has read it"

    # A driver that is killed leaves a device that Linux's can use, and writes nothing where it was not told to.
    give "$DISK" vfio-pci
    nook-run /drivers/nvme.wasm --pci "00:$DISK.0" --exercise write --duration 100s --destroy-data guest-disk &
    nook=$!
    sleep 3
    kill -KILL "$nook"
    wait "$nook" || true
    disk_to_linux
    first=$(hash_of "$BLOCKS" 0 "$FILES_AT_MIB")
    disk_is_as_noted "after nook-run was killed while it wrote"

    disk_run 0 --queues 4 --exercise write,verify --destroy-data guest-disk
    no_access_was_blocked "writing through four pairs of queues"
    [ "$(number fault_count /tmp/report.json)" = 0 ] || fail "there were faults"
    result "{\"writes\": $(number writes /tmp/report.json)}"

    # What another client writes through it, and what all of it reads as there, is what Linux's driver finds.
    nook-run /drivers/nvme.wasm --pci "00:$DISK.0" --nbd tcp: --json /tmp/report.json &
    nook=$!
    load nbd
    wait_for 100 nbd-client 127.0.0.1 10809 /dev/nbd0 || fail "the NBD server is not there"
    dd if=/tmp/pattern of=/dev/nbd0 bs=1M seek=40 conv=notrunc,fsync 2> /dev/null
    first=$(hash_of /dev/nbd0 0 "$FILES_AT_MIB")
    nbd-client -d /dev/nbd0
    nook_down
    no_access_was_blocked "serving"
    disk_to_linux
    disk_is_as_noted "after nook-run has served it"
    [ "$(hash_of "$BLOCKS" 40 4)" = "$(sha1sum < /tmp/pattern | cut -d' ' -f1)" ] || fail "what was written over NBD is not on the disk"
    losetup -o "$at" /dev/loop0 "$BLOCKS"
    mount_files /dev/loop0
    files_are_as_noted "the files"
    umount /mnt
    losetup -d /dev/loop0
}

# Has nook-run's driver of the disk serve it as /dev/nbd0, with the options.
disk_attached() {
    give "$DISK" vfio-pci
    load nbd
    nook-run /drivers/nvme.wasm --pci "00:$DISK.0" --attach /dev/nbd0 --json /tmp/report.json "$@" &
    nook=$!
    wait_for 100 test -e /sys/block/nbd0/pid || fail "nook-run does not attach /dev/nbd0"
    [ "$(cat /sys/block/nbd0/size)" = $((DISK_MIB << 11)) ] || fail "/dev/nbd0 has $(cat /sys/block/nbd0/size) sectors"
}

# Fails if the device is still attached, or something was blocked.
disk_is_detached() {
    [ ! -e /sys/block/nbd0/pid ] || fail "/dev/nbd0 is still attached"
    no_access_was_blocked "$1"
}

# A file system on /dev/nbd0 above nook-run's driver stays whole while that crashes; Linux's nvme driver finds the files. [300]
case_disk_is_attached_to_the_kernel() {
    dmesg -c > /dev/null
    disk_attached --crash-every 20ms
    make_files /dev/nbd0
    mount_files /dev/nbd0
    copy_files first
    umount /mnt
    mount_files /dev/nbd0
    files_are_as_noted "after crashes that were rolled back"
    # It ends while the file system is mounted: what the kernel has cached is written before.
    copy_files second
    grep -q "^VmLck:[^1-9]*[1-9]" "/proc/$nook/status" || fail "its memory is not locked"
    [ "$(cat "/proc/$nook/oom_score_adj")" = -1000 ] || fail "its score is $(cat "/proc/$nook/oom_score_adj")"
    nook_down
    # It has nothing to write to any more.
    umount /mnt || true
    disk_is_detached "rolling back"
    [ "$(number rollbacks /tmp/report.json)" -gt 0 ] || fail "no call was rolled back"
    result "{\"rollbacks\": $(number rollbacks /tmp/report.json), \"writes\": $(number writes /tmp/report.json), \"flushes\": $(number flushes /tmp/report.json)}"

    printf '[restart]\nbudget = 100000\nbackoff_first = "0ms"\nbackoff_most = "0ms"\n' > /tmp/policy
    disk_attached --isolation sfi --policy /tmp/policy --crash-every 500ms
    mount_files /dev/nbd0
    files_are_as_noted "after nook-run had ended above a mounted file system"
    copy_files third
    umount /mnt
    mount_files /dev/nbd0
    files_are_as_noted "after restarts"
    umount /mnt
    files_are_whole /dev/nbd0
    nook_down
    disk_is_detached "restarting"
    [ "$(number restarts /tmp/report.json)" -gt 0 ] || fail "the driver was not restarted"
    [ "$(number errors /tmp/report.json)" = 0 ] || fail "there were I/O errors"
    result "{\"restarts\": $(number restarts /tmp/report.json)}"

    disk_to_linux
    files_are_whole "$BLOCKS"
    mount_files "$BLOCKS"
    files_are_as_noted "under Linux's driver"
    umount /mnt
}

# A device that is none, is in use or may not be used is refused, and one of a run that was killed is freed by hand. [120]
case_disk_is_not_attached() {
    give "$DISK" vfio-pci
    load nbd
    load loop
    attach="nook-run /drivers/nvme.wasm --pci 00:$DISK.0 --attach"
    # shellcheck disable=SC2086 # It is several words.
    {
        refused "/dev/loop0 is block device 7:0, another driver's" $attach /dev/loop0
        refused "/dev/nothing cannot be looked at" $attach /dev/nothing
        refused "is no block device" $attach /dev/null
        refused "needs CAP_" /usr/bin/setpriv --reuid 1000 --clear-groups $attach /dev/nbd0 --no-cache
        disk_attached --read-only
        refused "in use, set up by process $nook" $attach /dev/nbd0
    }
    [ "$(cat /sys/block/nbd0/ro)" = 1 ] || fail "it can be written"
    kill -KILL "$nook"
    wait "$nook" || true
    # shellcheck disable=SC2086 # It is several words.
    refused "nbd-client -d /dev/nbd0" $attach /dev/nbd0
    nbd-client -d /dev/nbd0
    disk_attached
    # Somebody else detaches it.
    nbd-client -d /dev/nbd0
    wait "$nook" || fail "nook-run ended with $?"
    grep -q "detached by another" /tmp/report.json || fail "it ended for another reason: $(grep '"ended"' /tmp/report.json)"
}
