#!/usr/bin/env bash
# QEMU's `e1000` and `e1000e` (QEMU 7.2 of Debian 12) choose the size class of a received frame by its length without the
# frame check sequence; and e1000 counts broadcasts as multicasts while it receives all multicasts.
#
# Guess, from Intel's manual of the 8254x (sections 13.7.21 to 13.7.26): the lengths of PRC64, PRC127, ... go from the
# destination address through the CRC, so that the shortest frame, of 60 bytes and 4, is in PRC64, and one of 124 bytes
# and 4 in PRC255. MPRC does not count broadcasts (section 13.7.29).
# Seen: a frame of 60 bytes is in no class at all, though GPRC and TPR count it, and one of 124 is in PRC127. With
# RCTL.MPE set a broadcast is in MPRC of e1000 and not in BPRC, and the other way round in e1000e. A checker of a
# driver's counters against the frames that were sent finds the classes short.
#
# Usage: findings/qemu-e1000-size-classes.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
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
STATUS, RCTL, RDBAL, RDLEN, RDT = 0x0008, 0x0100, 0x2800, 0x2808, 0x2818
COUNTERS = {"PRC64": 0x405C, "PRC127": 0x4060, "PRC255": 0x4064, "GPRC": 0x4074, "BPRC": 0x4078, "MPRC": 0x407C,
            "TPR": 0x40D0}
LINK_UP = 1 << 1
# Receive, all unicast and multicast, broadcast, strip the frame check sequence.
RECEIVE = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26


def frame(to, length):
    """A frame of an experimental EtherType."""
    return bytes.fromhex(to + "02000000000188b5") + bytes(length - 14)


class Card:
    """A card in an emulator, with its link up and eight receive descriptors."""

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
        self.write(RDT, 7)
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


def counted(model, to, length):
    """Says which counters count one frame."""
    card = Card(model)
    try:
        cable.sendto(frame(to, length), folder + "/card")
        time.sleep(0.3)
        return " ".join(name for name, offset in COUNTERS.items() if card.read(offset))
    finally:
        card.end()


ME, ALL = "525400123456", "ffffffffffff"
seen = []
for model in ["e1000", "e1000e"]:
    for what, to, length in [("60 bytes", ME, 60), ("124 bytes", ME, 124), ("a broadcast of 100 bytes", ALL, 100)]:
        seen.append(f"{model}: {what}: {counted(model, to, length)}")
        print(seen[-1])
same = seen == [
    "e1000: 60 bytes: GPRC TPR",
    "e1000: 124 bytes: PRC127 GPRC TPR",
    "e1000: a broadcast of 100 bytes: PRC127 GPRC MPRC TPR",
    "e1000e: 60 bytes: GPRC TPR",
    "e1000e: 124 bytes: PRC127 GPRC TPR",
    "e1000e: a broadcast of 100 bytes: PRC127 GPRC BPRC TPR",
]
print("as described above" if same else "NOT as described above")
sys.exit(0 if same else 1)
PYTHON
