#!/usr/bin/env bash
# Shows that a read of one aligned block of 512 bytes of a file, beside a write of the same block, returns parts of both.
#
# Linux 6.18, ext4, through the page cache; any file system that does not lock a file for reading. One process writes the
# block again and again, each time with another byte everywhere; another one reads it.
#
# Guess: a sector is read as it was before a write or after it, as from a disk.
# Seen: of a million reads some hold two contents, and the second begins at any multiple of 16 bytes. What makes a disk of
# a file with pread and pwrite hands that on: QEMU 7.2's nvme, which says that a write of one block is atomic (AWUN 0),
# did so in 3 of 800,000 reads of a disk that was written all the time.
#
# Usage: findings/linux-torn-block.sh   (needs python3 and two processors)
# Exit status 0: still so. 1: no such read in a minute. 2: it cannot be tried here.
set -euo pipefail
command -v python3 >/dev/null || { echo "this needs python3"; exit 2; }
[ "$(nproc)" -gt 1 ] || { echo "this needs two processors"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uname -sr
python3 - "$folder/file" <<'TRY'
import os, sys, time

fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.pwrite(fd, bytes(512), 0)
end = time.monotonic() + 60
writer = os.fork()
if writer == 0:
    number = 0
    while time.monotonic() < end:
        number += 1
        os.pwrite(fd, bytes([number % 256]) * 512, 0)
    os._exit(0)
reads, torn = 0, []
while time.monotonic() < end and len(torn) < 3:
    block = os.pread(fd, 512, 0)
    reads += 1
    if block.count(block[0]) != 512:
        torn.append(next(at for at, byte in enumerate(block) if byte != block[0]))
os.kill(writer, 9)
os.waitpid(writer, 0)
print(f"{len(torn)} of {reads} reads hold two contents; the second begins at byte {', '.join(map(str, torn))}")
sys.exit(not torn)
TRY
