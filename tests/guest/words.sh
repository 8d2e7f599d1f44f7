# The words in which the cases are said. Sourced by init, before cases.sh.
#
# Settings: NICS (slots, in hexadecimal), PEERED (the slot of the card that has a peer), KILLS (how often nook-run is killed), FILE_PORT and FILE_SHA256 (a file behind
# 10.0.2.2). The kernel was given IPERF_PORT (an iperf3 server there) and INBOX_PORT (which
# keeps what it is sent).
# Slots: 05 is an e1000 (an igb in the machine for it), 06 an e1000-82545em, 07 an e1000e, each on its own user network; PEERED is an e1000 whose
# cable's far end is a host in the process that runs the cases: it answers, and asks on request.

# Ends the case with a reason.
fail() {
    echo "why $*" >&3
    exit 1
}

# Hands one JSON object to the host; the objects of a case are merged.
result() {
    echo "result $(echo "$1" | tr '\n' ' ')" >&3
}

# Where the card in a slot is in sysfs.
card() {
    echo "/sys/bus/pci/devices/0000:00:$1.0"
}

# The name of the last part of what a link points to.
points_to() {
    basename "$(readlink "$1")"
}

# How the names begin under which the kernel counts the interrupts of the card in slot $1 that vfio-pci has: MSI on the
# e1000e, all messages of the igb and of virtio cards.
vfio_interrupt() {
    case $(cat "$(card "$1")/device") in
        0x10c9 | 0x1041) echo vfio-msix ;;
        0x10d3) echo "vfio-msi[0](0000:00:$1.0)" ;;
        *) echo "vfio-intx(0000:00:$1.0)" ;;
    esac
}

# Loads a module and what it needs.
load() {
    local module
    for module in $(cat "/modules/$1.order"); do
        [ -e "/sys/module/$(echo "$module" | tr - _)" ] || insmod "/modules/$module.ko"
    done
}

# The number under the key $1 in the JSON file $2, at its first place.
number() {
    awk -v key="\"$1\":" '$1 == key { sub(/,$/, "", $2); print $2; exit }' "$2"
}

# Gives the card in slot $1 to driver $2: vfio-pci, e1000, e1000e, or none.
give() {
    give_at "0000:00:$1.0" "$2"
}

# The same for the card at address $1.
give_at() {
    local card
    card=/sys/bus/pci/devices/$1
    if [ -e "$card/driver" ]; then
        [ "$(points_to "$card/driver")" != "$2" ] || return 0
        echo "$1" > "$card/driver/unbind"
    fi
    echo "$2" > "$card/driver_override"
    [ "$2" != none ] || return 0
    [ "$2" != vfio-pci ] || load vfio_iommu_type1
    load "$2"
    # Loading the module may have bound it already.
    [ -e "$card/driver" ] || echo "$1" > /sys/bus/pci/drivers_probe
    [ -e "$card/driver" ] || fail "$2 does not take the card at $1"
}

# Gives the card in slot $1 to the kernel's driver $2, brings its interface up as 10.0.2.15 and says its name.
linux_up() {
    local interface
    give "$1" "$2"
    interface=$(ls "$(card "$1")/net")
    ip link set "$interface" up
    ip addr add 10.0.2.15/24 dev "$interface"
    wait_for 10 carrier "$interface" || fail "$interface has no carrier"
    # QEMU's cards receive nothing in the first second after RCTL was written.
    wait_for 10 ping -c 1 -W 1 10.0.2.2 || fail "10.0.2.2 does not answer through $interface"
    echo "$interface"
}

# Has nook-run's driver $1 drive the card in slot $2, which vfio-pci has, with the options after it, and brings its
# interface nook0 up as 10.0.2.15.
nook_runs() {
    local driver slot
    driver=$1
    slot=$2
    shift 2
    nook-run "/drivers/$driver.wasm" --pci "00:$slot.0" --tap nook0 --json /tmp/report.json "$@" &
    nook=$!
    # A driver is compiled first, which takes long on an emulated processor the first time.
    wait_for 400 nook_answers || true
    [ -e /sys/class/net/nook0 ] || {
        cat /tmp/said || true
        fail "nook-run makes no nook0 in slot $slot"
    }
    ip link set nook0 up
    ip addr add 10.0.2.15/24 dev nook0
}

# Says whether nook-run has an interface, or has ended without.
nook_answers() {
    [ -e /sys/class/net/nook0 ] || ! kill -0 "$nook" 2> /dev/null
}

# Drives the card in slot $1 with nook-run and the options after it, and brings its interface nook0 up as 10.0.2.15. The
# driver is ours, or the one that DRIVER names.
nook_up() {
    local slot
    slot=$1
    shift
    give "$slot" vfio-pci
    load tun
    nook_runs "${DRIVER:-e1000}" "$slot" "$@"
    wait_for 20 ping -c 1 -W 1 10.0.2.2 || fail "10.0.2.2 does not answer through nook0 in slot $slot"
}

# Stops it, and fails if it does not end well. Ctrl-C would not: what a shell without job control starts in the background
# ignores SIGINT, and nook-run leaves that as it is.
nook_down() {
    kill -TERM "$nook"
    wait "$nook" || fail "nook-run ended with $?"
}

# Keeps frames going both ways through the present interface, until `traffic_ends`.
traffic_begins() {
    ping -i 0.01 -q 10.0.2.2 > /dev/null 2>&1 &
    pings=$!
    nc 10.0.2.2 "$FILE_PORT" < /dev/null > /dev/null 2>&1 &
    file=$!
    sleep 0.5
}

traffic_ends() {
    kill -KILL "$pings" "$file" 2> /dev/null || true
    wait "$pings" "$file" 2> /dev/null || true
}

# What ethtool's option $1 says of interface $2, as a JSON object: -k its features, -S its statistics.
ethtool_says() {
    ethtool "$1" "$2" > /tmp/ethtool
    awk -F': *' 'NR > 1 && NF > 1 { sub(/^[ \t]+/, "", $1); sub(/ +$/, "", $2); printf "%s\"%s\": \"%s\"", comma, $1, $2; comma = ", " }
        BEGIN { printf "{" } END { printf "}" }' /tmp/ethtool
}

# What driver and device have counted by nook-run's report, as a JSON object of texts.
driver_counters() {
    awk '/"(device|named)_counters": \{/ { inside = 1; next } /\}/ { inside = 0 }
        inside { sub(/,$/, "", $2); printf "%s%s \"%s\"", comma, $1, $2; comma = ", " }
        BEGIN { printf "{" } END { printf "}" }' /tmp/report.json
}

# Sends 20 pings and fails if one is lost.
pings_20() {
    ping -c 20 -i 0.05 -q 10.0.2.2 > /tmp/ping || true
    [ "$(received /tmp/ping)" = 20 ] || fail "$(received /tmp/ping) of 20 pings came back"
}

# Drives the card in slot $1 with a driver that crashes each four seconds, with the options after $3: it comes back in the
# way that the report counts under $2, and never in the one under $3.
comes_back() {
    local slot way other
    slot=$1
    way=$2
    other=$3
    shift 3
    nook_up "$slot" --crash-every 4s "$@"
    # Often enough that there are crashes, and seldom enough that there are moments at which nothing moves.
    ping -c 25 -i 0.2 -W 1 -q 10.0.2.2 > /tmp/ping || true
    # QEMU's cards receive nothing in the first second after RCTL was written.
    wait_for 20 ping -c 1 -W 1 10.0.2.2 || fail "10.0.2.2 does not answer through slot $slot after a crash ($way)"
    nook_down
    [ "$(number "$way" /tmp/report.json)" -gt 0 ] || fail "slot $slot: $way is $(number "$way" /tmp/report.json)"
    [ "$(number "$other" /tmp/report.json)" = 0 ] || fail "slot $slot: $other is $(number "$other" /tmp/report.json)"
    result "{\"${slot}_$way\": $(number "$way" /tmp/report.json)}"
}

# Runs the command after $1, which must end with status 1 and say $1.
refused() {
    local words status
    words=$1
    status=0
    shift
    "$@" > /tmp/said 2>&1 || status=$?
    cat /tmp/said
    [ "$status" = 1 ] || fail "$* ended with $status and said: $(tr '\n' ' ' < /tmp/said)"
    grep -q "$words" /tmp/said || fail "$* did not say \"$words\" but: $(tr '\n' ' ' < /tmp/said)"
}

carrier() {
    [ "$(cat "/sys/class/net/$1/carrier")" = 1 ]
}

# Repeats a command each tenth of a second until it succeeds, for $1 seconds.
wait_for() {
    local end
    end=$(($(cut -d. -f1 /proc/uptime) + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ "$(cut -d. -f1 /proc/uptime)" -le "$end" ] || return 1
        sleep 0.1
    done
}

# How many interrupts the handlers whose names begin with $1 have seen.
interrupts() {
    awk -v name="$1" 'index($NF, name) == 1 || $0 ~ ("[ ,]" name "(,|$)") { n += $2 } END { print n + 0 }' /proc/interrupts
}

# From here to `count_end`, the host counts the register accesses of all cards.
count_begin() {
    local answer
    echo "count begin" >&3
    read -r answer <&3
    [ "$answer" = ok ] || fail "the host does not count: $answer"
}

# Leaves in $reads and $writes how often the registers of the card in slot $1 were accessed; the host also keeps the
# counts by register under the name $2.
count_end() {
    local answer
    echo "count end $1 $2" >&3
    read -r answer reads writes <&3
    [ "$answer" = counted ] || fail "the host did not count: $answer $reads"
}

# From here to `wire_end`, the host keeps what passes the cable of the card in slot $1.
wire_begin() {
    local answer
    echo "wire begin $1" >&3
    read -r answer <&3
    [ "$answer" = ok ] || fail "the host does not listen: $answer"
}

# Leaves in $frames how many frames passed the cable of the card in slot $1, either way, and in $with_content in how
# many of them a byte was not zero.
wire_end() {
    local answer
    echo "wire end $1" >&3
    read -r answer frames with_content <&3
    [ "$answer" = passed ] || fail "the host did not listen: $answer $frames"
}

# $1 / $2 with four digits.
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4g", a / b }'
}

# `received` out of ping's summary in file $1.
received() {
    awk '/packets received/ { print $4 }' "$1"
}

# Bits per second out of iperf3's JSON in file $1, as the receiver saw them.
bits_per_second() {
    awk '/"sum_received"/ { in_it = 1 } in_it && /"bits_per_second"/ { sub(/.*:[ \t]*/, ""); sub(/[,.].*/, ""); print; exit }' "$1"
}

# Sends 100 pings to 10.0.2.2 and reports what a packet costs on the card in slot $1, whose interrupts are handled
# under the name $2. Each ping is one packet out and one in.
ping_and_count() {
    local before after
    before=$(interrupts "$2")
    count_begin
    ping -c 100 -i 0.05 -q 10.0.2.2 > /tmp/ping
    count_end "$1" "ping_$1"
    after=$(interrupts "$2")
    cat /tmp/ping
    [ "$(received /tmp/ping)" = 100 ] || fail "$(received /tmp/ping) of 100 pings came back through slot $1"
    result "{\"$1\": {\"pings\": 100, \"reads_per_packet\": $(ratio "$reads" 200), \"writes_per_packet\": $(ratio "$writes" 200),
        \"interrupts_per_packet\": $(ratio $((after - before)) 200)}}"
}

# Fetches the host's file and compares its hash, then runs iperf3 both ways; reports as of slot $1.
carry_tcp() {
    local sum
    sum=$(nc 10.0.2.2 "$FILE_PORT" < /dev/null | sha256sum | cut -d' ' -f1)
    [ "$sum" = "$FILE_SHA256" ] || fail "the file arrived as $sum through slot $1"
    iperf3 -c 10.0.2.2 -p "$IPERF_PORT" -t 3 -J > /tmp/out
    iperf3 -c 10.0.2.2 -p "$IPERF_PORT" -t 3 -R -J > /tmp/in
    result "{\"$1\": {\"hash_ok\": true, \"out_bits_per_second\": $(bits_per_second /tmp/out),
        \"in_bits_per_second\": $(bits_per_second /tmp/in)}}"
}

# Sends the recording $1 out through one of Linux's own cards, and has the driver run against it there.
replay_outside() {
    local answer
    linux_up 06 e1000 > /dev/null
    nc 10.0.2.2 "$INBOX_PORT" < "$1"
    give 06 none
    echo "replay ${DRIVER:-e1000}" >&3
    read -r answer <&3
    [ "$answer" = ok ] || fail "the host says: $answer"
}

# Waits until the peer has had an answer through its card.
peer_meets() {
    local answer met
    echo "peer meet" >&3
    read -r answer met <&3
    [ "$answer $met" = "met true" ] || fail "the peer has no answer through slot $PEERED: $answer $met"
}

# The peer sends $1 echo requests, $2 at once; all must be answered. Leaves in $frames how many frames passed, either way.
peer_pings() {
    local answer answered
    echo "peer ping $1 $2" >&3
    read -r answer answered frames <&3
    [ "$answer" = pinged ] || fail "the peer does not ping: $answer $answered"
    [ "$answered" = "$1" ] || fail "$answered of the peer's $1 echo requests were answered"
}

# What the peer sends for counting: how many requests, and how many at once.
APART="100 1"
TOGETHER="3200 32"

# Has the peer send what the names after $1 say, and reports what a frame costs on its card, whose interrupts are handled
# under the name $1. The host keeps the counts by register.
count_answers() {
    local handler before name
    handler=$1
    shift
    peer_meets
    for name in "$@"; do
        before=$(interrupts "$handler")
        count_begin
        # shellcheck disable=SC2086 # They are two words each.
        if [ "$name" = apart ]; then peer_pings $APART; else peer_pings $TOGETHER; fi
        count_end "$PEERED" "$name"
        result "{\"$name\": {\"frames\": $frames, \"reads_per_frame\": $(ratio "$reads" "$frames"),
            \"writes_per_frame\": $(ratio "$writes" "$frames"),
            \"interrupts_per_frame\": $(ratio $(($(interrupts "$handler") - before)) "$frames")}}"
    done
}

# The same for nook-run's driver $1, with the crossings that it tells when it ends: beyond those of a run that is only met.
nook_counts() {
    local DRIVER name crossings packets
    DRIVER=$1
    nook_up "$PEERED"
    peer_meets
    nook_down
    crossings=$(number crossings /tmp/report.json)
    packets=$(number packets /tmp/report.json)
    for name in apart together; do
        nook_up "$PEERED"
        count_answers "$(vfio_interrupt "$PEERED")" "$name"
        nook_down
        result "{\"${name}_crossings_per_frame\": $(ratio $(($(number crossings /tmp/report.json) - crossings)) \
            $(($(number packets /tmp/report.json) - packets)))}"
    done
}

# Has DPDK's testpmd drive the card in slot $1 and answer echo requests by itself.
testpmd_up() {
    give "$1" vfio-pci
    echo 96 > /proc/sys/vm/nr_hugepages
    mkdir -p /dev/hugepages /var/run /var/log
    mountpoint -q /dev/hugepages || mount -t hugetlbfs huge /dev/hugepages
    # It ends when there is something to read, or nothing more.
    sleep 1000 | dpdk-testpmd --lcores "0@0,1@0" -n 1 -m 128 --no-telemetry -a "0000:00:$1.0" \
        -d librte_mempool_ring.so.23 -d librte_net_e1000.so.23 \
        -- --forward-mode=icmpecho --total-num-mbufs=4096 --nb-cores=1 &
}
