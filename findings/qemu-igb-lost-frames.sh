#!/usr/bin/env bash
# QEMU's `igb`, a model of the 82576 (QEMU 10.0.2 of Debian's bookworm-backports), drops frames that no counter tells of,
# as soon as it has several receive queues.
#
# Guess, from Intel's datasheet of the 82576: a frame whose queue has no descriptor stays in the packet buffer until there
# is one, as SRRCTL.DROP_EN is clear; or, if it is lost, MPC, RNBC or the queue's RQDPC counts it.
# Seen: with one queue, frames wait for descriptors. With two (RSS), of which the other has descriptors, they are dropped at
# once: they never come, also when descriptors are added, MPC, RNBC and RQDPC stay 0, and TPR counts only those that were
# received. Only the cause RXO in ICR is set. A driver whose counters are compared with the sender's finds a hole.
#
# Usage: findings/qemu-igb-lost-frames.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='1:10.0.2+ds-2+deb13u1~bpo12+1'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/archives/partial" "$folder/lists/partial" "$folder/sources" "$folder/tree"
: >"$folder/status"
# Where this system has bookworm from, backports are, too.
apt-get indextargets --format 'deb $(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | sort -u >"$folder/archive"
sed -e 's/$/ bookworm main/' "$folder/archive" >"$folder/sources/bookworm.list"
sed -e 's/$/ bookworm-backports main/' "$folder/archive" >"$folder/sources/backports.list"
apt=(apt-get -qq -o Dir::Etc::sourcelist="$folder/none" -o Dir::Etc::sourceparts="$folder/sources"
    -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status"
    -o Dir::Cache::archives="$folder/archives" -o Dir::Cache::pkgcache="" -o Dir::Cache::srcpkgcache=""
    -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
{
    "${apt[@]}" update
    "${apt[@]}" -y --no-install-recommends --download-only -t bookworm-backports install "qemu-system-x86=$version"
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

BAR, RINGS, BUFFERS = 0xE0000000, 0x200000, 0x300000
CTRL, STATUS, MDIC, ICR, RCTL, MPC, RNBC, TPR = 0x0000, 0x0008, 0x0020, 0x00C0, 0x0100, 0x4010, 0x40A0, 0x40D0
RXCSUM, MRQC, RETA, RSSRK = 0x5000, 0x5818, 0x5C00, 0x5C80
RDBAL, RDLEN, SRRCTL, RDH, RDT, RXDCTL, RQDPC = 0x2800, 0x2808, 0x280C, 0x2810, 0x2818, 0x2828, 0x2830
QUEUE, SLU, LINK_UP, ENABLE, RXO = 0x100, 1 << 6, 1 << 1, 1 << 25, 1 << 6
# Receive, all unicast and multicast, broadcast, strip the frame check sequence.
RECEIVE = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 15 | 1 << 26
FRAMES, FEW, ALL = 6, 2, 7


def frame(port):
    """A UDP packet over IPv4 of 60 bytes."""
    ip = struct.pack(">BBHHHBBH4B4B", 0x45, 0, 46, 0, 0, 64, 17, 0, 10, 0, 2, 2, 10, 0, 2, 15)
    total = sum(struct.unpack(">10H", ip))
    total = ~(total + (total >> 16)) & 0xFFFF
    ip = ip[:10] + struct.pack(">H", total) + ip[12:]
    return bytes.fromhex("525400123456 020000000001 0800") + ip + struct.pack(">HHHH", port, 5000, 26, 0) + bytes(18)


class Card:
    """A card in an emulator, with its link up, and queues with eight descriptors each."""

    def __init__(self, queues):
        arguments = ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults"]
        arguments += ["-display", "none", "-m", "16M", "-machine", "q35,hpet=off,pit=off", "-accel", "tcg"]
        arguments += ["-bios", folder + "/halt.bin", "-qtest", f"unix:{folder}/qtest,server=on,wait=off"]
        arguments += ["-qtest-log", "/dev/null", "-device", "igb,addr=5,romfile=,netdev=cable,mac=52:54:00:12:34:56"]
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
        # Auto-negotiation is restarted, in the PHY's control register; without it there is no link.
        self.write(CTRL, SLU)
        self.write(MDIC, 1 << 26 | 1 << 21 | 0x1200)
        while not self.read(STATUS) & LINK_UP:
            time.sleep(0.05)
        if queues > 1:
            # RSS over IPv4: each entry of the table leads to queue 1.
            self.write(RXCSUM, 1 << 13)
            for i in range(10):
                self.write(RSSRK + 4 * i, 0x6D5A56DA)
            for i in range(32):
                self.write(RETA + 4 * i, 0x01010101)
            self.write(MRQC, 2 | 1 << 17)
        self.write(RCTL, RECEIVE)
        for queue in range(queues):
            at, ring = QUEUE * queue, RINGS + 0x1000 * queue
            for i in range(8):
                buffer = BUFFERS + 0x10000 * queue + 2048 * i
                self.ask(f"write {ring + 16 * i:#x} 16 0x{struct.pack('<QQ', buffer, 0).hex()}")
            self.write(RDBAL + at, ring)
            self.write(RDLEN + at, 128)
            self.write(SRRCTL + at, 1 << 25 | 2)
            self.write(RXDCTL + at, ENABLE)
        self.read(ICR)

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

    def head(self, queue):
        """Waits until the head has come to rest."""
        time.sleep(0.3)
        return self.read(RDH + QUEUE * queue)

    def end(self):
        self.machine.terminate()
        self.machine.wait()
        for name in ["qtest", "card"]:
            if os.path.exists(f"{folder}/{name}"):
                os.unlink(f"{folder}/{name}")


def tried(queues):
    """Sends frames to the last queue, which has too few descriptors until they were sent."""
    card, last = Card(queues), queues - 1
    try:
        for queue in range(queues):
            card.write(RDT + QUEUE * queue, FEW if queue == last else ALL)
        # The receiver rests for a while after it was turned on.
        time.sleep(1.2)
        for n in range(FRAMES):
            cable.sendto(frame(1000 + n), folder + "/card")
        few = card.head(last)
        overrun = bool(card.read(ICR) & RXO)
        card.write(RDT + QUEUE * last, ALL)
        late = card.head(last)
        counters = {name: card.read(offset) for name, offset in
                    [("MPC", MPC), ("RNBC", RNBC), ("RQDPC", RQDPC + QUEUE * last), ("TPR", TPR)]}
    finally:
        card.end()
    print(f"{queues} queue(s): of {FRAMES} frames {few} came, {late} once there were descriptors; RXO {overrun}; {counters}")
    lost = counters["MPC"] == counters["RNBC"] == counters["RQDPC"] == 0
    return few, late, overrun, lost, counters["TPR"]


same = tried(1)[:2] == (FEW, FRAMES) and tried(2) == (FEW, FEW, True, True, FEW)
print("as described above" if same else "NOT as described above")
sys.exit(0 if same else 1)
PYTHON
