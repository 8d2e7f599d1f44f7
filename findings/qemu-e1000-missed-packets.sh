#!/usr/bin/env bash
# QEMU's `e1000` (QEMU 7.2 of Debian 12) never clears its counters of received frames that found no place: not when they
# are read, not by a reset, not when 0 is written.
#
# Guess, from Intel's manual of the 8254x (section 13.7): every statistics register clears when it is read.
# Seen: MPC and RNBC of the 82540EM stay, while GPRC beside them clears. The frame that raised them is counted again each
# time that a driver adds up what it reads, for as long as the emulator runs, and also by the drivers after it. e1000e does
# not count that frame at all.
#
# Usage: findings/qemu-e1000-missed-packets.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='1:7.2+dfsg-7+deb12u18+b3'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/archives/partial" "$folder/lists/partial" "$folder/sources" "$folder/tree"
: >"$folder/status"
apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) main' 'Created-By: Packages' | grep bookworm | sort -u \
    >"$folder/sources/bookworm.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$folder/none" -o Dir::Etc::sourceparts="$folder/sources"
    -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status"
    -o Dir::Cache::archives="$folder/archives" -o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache=""
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
{
    "${apt[@]}" update
    "${apt[@]}" -y --no-install-recommends --download-only install "qemu-system-x86=$version"
} >"$folder/log" 2>&1 || {
    echo "qemu-system-x86 $version could not be downloaded:" >&2
    tail -3 "$folder/log" >&2
    exit 2
}
for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder/tree"
done

python3 - "$folder" <<'PYTHON'
import os, socket, struct, subprocess, sys, time

folder = sys.argv[1]
root = folder + "/tree"
libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
qemu = [f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{root}/usr/bin/qemu-system-x86_64"]
# The reset vector of a "BIOS" that halts: no guest code runs, the device is driven over qtest.
bios = bytearray(b"\xf4" * 65536)
bios[0xFFF0:0xFFF4] = b"\xfa\xf4\xeb\xfd"
with open(folder + "/halt.bin", "wb") as file:
    file.write(bios)

print(subprocess.run(qemu + ["--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0])
# The far end of the card's cable.
cable = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
cable.bind(folder + "/cable")

BAR, RING, BUFFERS = 0xE0000000, 0x200000, 0x300000
CTRL, STATUS, RCTL, RDBAL, RDLEN, RDT = 0x0000, 0x0008, 0x0100, 0x2800, 0x2808, 0x2818
MPC, RNBC, GPRC = 0x4010, 0x40A0, 0x4074
LINK_UP = 1 << 1
# Receive, all unicast and multicast, broadcast, buffers of 256 bytes, strip the frame check sequence.
RECEIVE = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 3 << 16 | 1 << 26


def frame(to, length):
    """A frame of an experimental EtherType."""
    return bytes.fromhex(to + "02000000000188b5") + bytes(length - 14)


class Card:
    """A card in an emulator, with its link up and one of its receive descriptors."""

    def __init__(self, model):
        arguments = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults"]
        arguments += ["-display", "none", "-m", "16M", "-machine", "q35,hpet=off", "-accel", "tcg"]
        arguments += ["-bios", folder + "/halt.bin", "-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        arguments += ["-qtest-log", "/dev/null", "-device", f"{model},addr=5,romfile=,netdev=cable,mac=52:54:00:12:34:56"]
        far = f"local.type=unix,local.path={folder}/card,remote.type=unix,remote.path={folder}/cable"
        arguments += ["-netdev", f"dgram,id=cable,{far}"]
        environment = {**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu"}
        self.machine = subprocess.Popen(qemu + arguments, env=environment)
        connection = socket.socket(socket.AF_UNIX)
        for _ in range(400):
            try:
                connection.connect(folder + "/qtest")
                break
            except OSError:
                time.sleep(0.025)
        self.stream = connection.makefile("rwb")
        for line in ["outl 0xcf8 0x80002810", "outl 0xcfc 0xe0000000", "outl 0xcf8 0x80002804", "outl 0xcfc 0x6"]:
            self.ask(line)
        while not self.read(STATUS) & LINK_UP:
            time.sleep(0.05)
        for i in range(8):
            self.ask(f"write {RING + 16 * i:#x} 16 0x{struct.pack('<QQ', BUFFERS + 2048 * i, 0).hex()}")
        self.write(RDBAL, RING)
        self.write(RDLEN, 128)
        self.write(RCTL, RECEIVE)
        self.write(RDT, 1)
        # The receiver rests for a while after it was turned on.
        time.sleep(1.2)

    def ask(self, line):
        self.stream.write((line + "\n").encode())
        self.stream.flush()
        answer = self.stream.readline().decode()
        if not answer:
            sys.exit("the emulator ended")
        return answer.split()[1] if " " in answer else ""

    def read(self, offset):
        return int(self.ask(f"readl {BAR + offset:#x}"), 16)

    def write(self, offset, value):
        self.ask(f"writel {BAR + offset:#x} {value:#x}")

    def end(self):
        self.machine.terminate()
        self.machine.wait()
        for name in ["qtest", "card"]:
            if os.path.exists(f"{folder}/{name}"):
                os.unlink(f"{folder}/{name}")


def thrice(card, register):
    return [card.read(register) for _ in range(3)]


seen = []
for model in ["e1000", "e1000e"]:
    card = Card(model)
    try:
        # It takes four buffers, and there is one.
        cable.sendto(frame("525400123456", 900), folder + "/card")
        time.sleep(0.5)
        missed = {"MPC": thrice(card, MPC), "RNBC": thrice(card, RNBC)}
        card.write(CTRL, 1 << 26)
        time.sleep(0.2)
        missed["MPC after a reset"] = thrice(card, MPC)
        card.write(MPC, 0)
        missed["and 0"] = thrice(card, MPC)
    finally:
        card.end()
    card = Card(model)
    try:
        cable.sendto(frame("525400123456", 200), folder + "/card")
        time.sleep(0.5)
        missed["GPRC of a frame that fits"] = thrice(card, GPRC)
    finally:
        card.end()
    seen.append(missed)
    print(f"{model}: {missed}")
once, never, cleared = [1, 1, 1], [0, 0, 0], [1, 0, 0]
expected = [{**dict.fromkeys(list(seen[0])[:4], missed), list(seen[0])[4]: cleared} for missed in (once, never)]
if seen != expected:
    sys.exit(f"expected: {expected}")
PYTHON
