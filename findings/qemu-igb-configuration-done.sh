#!/usr/bin/env bash
# QEMU's `igb`, a model of the 82576 (QEMU 10.0.2 of Debian's bookworm-backports), never says that it has read its
# configuration.
#
# Guess, from Intel's datasheet of the 82576 and DPDK's and Linux's drivers: after a reset, bit 9 of EECD (Auto_RD) is set
# when the EEPROM, which bit 8 says is there, was read, and after a reset of the PHY bit 18 of EEMNGCTL (CFG_DONE0, at
# 0x1010) when its configuration was. Drivers ask each millisecond, at most 10 times for the first and 100 for the second.
# Seen: both stay clear for ever, though the EEPROM is there and can be read. Each driver waits its whole limit after each
# reset, a tenth of a second, and goes on. Nobody tells: drivers mention it at their debugging level only.
#
# Usage: findings/qemu-igb-configuration-done.sh   (Debian 12, amd64; needs apt-get, python3; nothing is installed)
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
import os, socket, subprocess, sys, time

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
machine = subprocess.Popen(
    qemu
    + ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios", "-nodefaults", "-display", "none"]
    + ["-machine", "q35,hpet=off,pit=off", "-accel", "tcg", "-bios", folder + "/halt.bin"]
    + ["-qtest", f"unix:{folder}/qtest,server=on,wait=off", "-qtest-log", "/dev/null"]
    + ["-device", "igb,addr=5,romfile="],
    env={**os.environ, "QEMU_MODULE_DIR": f"{root}/usr/lib/x86_64-linux-gnu/qemu"},
)
BAR, CTRL, STATUS, EECD, EEMNGCTL = 0xE0000000, 0x0000, 0x0008, 0x0010, 0x1010
RST, PHY_RST, SLU, CFG_DONE0, EE_PRES, AUTO_RD = 1 << 26, 1 << 31, 1 << 6, 1 << 18, 1 << 8, 1 << 9


def ask(stream, *lines):
    """Sends the commands one after the other; returns the answers."""
    answers = []
    for line in lines:
        stream.write((line + "\n").encode())
        stream.flush()
        answer = stream.readline().decode()
        if not answer:
            sys.exit("the emulator ended")
        answers.append(answer.split()[1] if " " in answer else "")
    return answers


def read(stream, offset):
    return int(ask(stream, f"readl {BAR + offset:#x}")[0], 16)


def write(stream, offset, value):
    ask(stream, f"writel {BAR + offset:#x} {value:#x}")


try:
    connection = socket.socket(socket.AF_UNIX)
    for _ in range(400):
        try:
            connection.connect(folder + "/qtest")
            break
        except OSError:
            time.sleep(0.025)
    stream = connection.makefile("rwb")
    ask(stream, "outl 0xcf8 0x80002810", "outl 0xcfc 0xe0000000", "outl 0xcf8 0x80002804", "outl 0xcfc 0x6")
    seen = []
    for what, bits in [("power-on", None), ("a reset", [SLU | RST]), ("a reset of the PHY", [SLU | PHY_RST, SLU])]:
        for value in bits or []:
            write(stream, CTRL, value)
        time.sleep(0.5)
        done, eecd = read(stream, EEMNGCTL), read(stream, EECD)
        print(f"after {what}: EEMNGCTL {done:#010x}, EECD {eecd:#010x}, STATUS {read(stream, STATUS):#010x}")
        seen.append((bool(eecd & EE_PRES), bool(eecd & AUTO_RD), bool(done & CFG_DONE0)))
finally:
    machine.terminate()
    machine.wait()

same = seen == [(True, False, False)] * 3
print("as described above" if same else "NOT as described above")
sys.exit(0 if same else 1)
PYTHON
