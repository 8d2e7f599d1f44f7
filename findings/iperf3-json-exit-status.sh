#!/usr/bin/env bash
# iperf3 (Debian's 3.12) with -J ends with status 0 when it had no connection at all, and its server is not there for a
# moment after each stream.
#
# Guess: a client that cannot connect ends with a status that is not 0, with -J as without; and a server without
# `--one-off` listens from its start to its end, so that the next client waits in the backlog.
# Seen: with -J the failure is a key "error" in the JSON and the status is 0; without -J it is 1. And after each stream
# the server closes its listening socket and makes another one: a client that comes in between is refused. Together: a
# script that runs one stream after the other and looks at the status takes a refused one for one that moved nothing.
# The busier the machine, the more often.
#
# Usage: findings/iperf3-json-exit-status.sh   (Debian 12, amd64; needs apt-get, python3; no root, nothing is installed)
# Exit status 0: still so. 1: the behaviour changed. 2: the packages could not be had.
set -euo pipefail

version='3.12-1+deb12u2'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/archives/partial" "$folder/tree"
: >"$folder/status"
apt-get -qq -y --no-install-recommends --download-only -o Dir::State::status="$folder/status" \
    -o Dir::Cache::archives="$folder/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
    install "iperf3=$version" "libiperf0=$version" >"$folder/log" 2>&1 || {
    echo "iperf3 $version could not be downloaded:" >&2
    tail -3 "$folder/log" >&2
    exit 2
}
for package in "$folder"/archives/*.deb; do
    dpkg -x "$package" "$folder/tree"
done

python3 - "$folder" <<'PYTHON'
import json, os, socket, subprocess, sys, time

root = sys.argv[1] + "/tree"
libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"
iperf3 = [f"{root}/lib64/ld-linux-x86-64.so.2", "--library-path", libraries, f"{root}/usr/bin/iperf3"]
if not os.path.exists(iperf3[0]):
    iperf3[0] = f"{root}/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
print(subprocess.run(iperf3 + ["--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0])

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def client(*more):
    return subprocess.run(
        iperf3 + ["-c", "127.0.0.1", "-p", str(port), "-n", "64K", *more], capture_output=True, text=True
    )


def listener():
    """The inode of the socket that listens on the port, or None."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                return fields[9]
    return None


def wait_for_listener(other_than=None):
    for _ in range(1000):
        found = listener()
        if found not in (None, other_than):
            return found
        time.sleep(0.01)
    return None


plain, as_json = client(), client("-J")
print(f"nobody listens: status {plain.returncode} without -J, {as_json.returncode} with it")
print(f"  its JSON says: {json.loads(as_json.stdout).get('error')}")
same = plain.returncode != 0 and as_json.returncode == 0 and "error" in json.loads(as_json.stdout)

server = subprocess.Popen(iperf3 + ["-s", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    first = wait_for_listener()
    stream = client("-J")
    moved = json.loads(stream.stdout)["end"]["sum_received"]["bytes"]
    second = wait_for_listener(other_than=first)
    print(f"one stream of {moved} bytes: the listening socket is {'another one' if second else 'the same'} afterwards")
    same = same and first is not None and moved > 0 and second is not None
finally:
    server.terminate()
    server.wait()
print("still so" if same else "the behaviour changed")
sys.exit(0 if same else 1)
PYTHON
