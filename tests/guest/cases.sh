# What is shown inside the guest, and the words it is said in. Sourced by init; a case is a function `case_NAME`.
#
# The line above a case says in one sentence what it shows, and in brackets how many seconds it may take. A case fails
# when a command fails, or when it calls `fail`.
# Its settings: NICS (slots, in hexadecimal), KILLS (how often nook-run is killed), FILE_PORT and FILE_SHA256 (a file
# behind 10.0.2.2), IPERF_PORT (an iperf3 server there).
# Slots: 05 is an e1000, 06 an e1000-82545em, 07 an e1000e, each on a user network of its own.

# --- words ---------------------------------------------------------------------------------------------------------

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

# The name under which the kernel counts the interrupts of the card in slot $1 that vfio-pci has: MSI on the e1000e.
vfio_interrupt() {
    case $1 in
        07) echo "vfio-msi[0](0000:00:$1.0)" ;;
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
    local card
    card=$(card "$1")
    if [ -e "$card/driver" ]; then
        [ "$(points_to "$card/driver")" != "$2" ] || return 0
        echo "0000:00:$1.0" > "$card/driver/unbind"
    fi
    echo "$2" > "$card/driver_override"
    [ "$2" != none ] || return 0
    [ "$2" != vfio-pci ] || load vfio_iommu_type1
    load "$2"
    # Loading the module may have bound it already.
    [ -e "$card/driver" ] || echo "0000:00:$1.0" > /sys/bus/pci/drivers_probe
    [ -e "$card/driver" ] || fail "$2 does not take the card in slot $1"
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

# Drives the card in slot $1 with nook-run and the options after it, and brings its interface nook0 up as 10.0.2.15.
nook_up() {
    local slot
    slot=$1
    shift
    give "$slot" vfio-pci
    load tun
    nook-run /drivers/e1000.wasm --pci "00:$slot.0" --tap nook0 --json /tmp/report.json "$@" &
    nook=$!
    wait_for 20 test -e /sys/class/net/nook0 || fail "nook-run makes no nook0 in slot $slot"
    ip link set nook0 up
    ip addr add 10.0.2.15/24 dev nook0
    wait_for 20 ping -c 1 -W 1 10.0.2.2 || fail "10.0.2.2 does not answer through nook0 in slot $slot"
}

# Stops it as Ctrl-C does, and fails if it does not end well.
nook_down() {
    kill -INT "$nook"
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

# Sends 20 pings and fails if one is lost.
pings_20() {
    ping -c 20 -i 0.05 -q 10.0.2.2 > /tmp/ping || true
    [ "$(received /tmp/ping)" = 20 ] || fail "$(received /tmp/ping) of 20 pings came back"
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

# How many interrupts the handler named $1 has seen.
interrupts() {
    awk -v name="$1" '$NF == name || $0 ~ ("[ ,]" name "(,|$)") { n += $2 } END { print n + 0 }' /proc/interrupts
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

# $1 / $2 with two decimals.
ratio() {
    awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'
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

# --- cases ---------------------------------------------------------------------------------------------------------

# Each card can be given to vfio-pci, alone in its group, and tells its identity. [30]
case_vfio_takes_each_card() {
    for expected in 05:8086:100e 06:8086:100f 07:8086:10d3; do
        slot=${expected%%:*}
        give "$slot" vfio-pci
        found=$(od -An -tx2 -N4 "$(card "$slot")/config" | sed 's/^ *//; s/ /:/')
        [ "$slot:$found" = "$expected" ] || fail "slot $slot holds $found"
        group=$(points_to "$(card "$slot")/iommu_group")
        [ "$(ls "/sys/kernel/iommu_groups/$group/devices" | wc -l)" = 1 ] || fail "slot $slot shares group $group"
        [ -c "/dev/vfio/$group" ] || fail "there is no /dev/vfio/$group"
        result "{\"$slot\": {\"id\": \"$found\", \"group\": $group}}"
    done
}

# Linux's own e1000 driver answers pings, and this is what each costs it. [60]
case_linux_e1000_pings() {
    interface=$(linux_up 05 e1000)
    ping_and_count 05 "$interface"
    result "{\"iommu\": \"$(cat "$(card 05)/iommu_group/type")\"}"
}

# Linux's own e1000 driver fetches a 64 MiB file without an error and carries TCP both ways. [120]
case_linux_e1000_carries_tcp() {
    linux_up 05 e1000
    carry_tcp 05
    bits_per_second /tmp/out > /tmp/linux_out
    bits_per_second /tmp/in > /tmp/linux_in
    result "{\"iommu\": \"$(cat "$(card 05)/iommu_group/type")\"}"
}

# A card that vfio-pci has had works again under Linux's own driver. [60]
case_a_card_goes_back_to_linux() {
    for card in 05:e1000 06:e1000 07:e1000e; do
        give "${card%:*}" vfio-pci
        linux_up "${card%:*}" "${card#*:}"
        give "${card%:*}" none
    done
}

# nook-run's e1000 driver answers pings through vfio-pci, and this is what each costs it. [150]
case_nook_run_pings() {
    for slot in $NICS; do
        nook_up "$slot"
        ping_and_count "$slot" "$(vfio_interrupt "$slot")"
        nook_down
        crossings=$(number crossings /tmp/report.json)
        packets=$(number packets /tmp/report.json)
        result "{\"crossings_per_packet_$slot\": $(ratio "$crossings" "$packets")}"
    done
}

# nook-run's e1000 driver fetches a 64 MiB file through vfio-pci without an error and carries TCP both ways. [300]
case_nook_run_carries_tcp() {
    for slot in $NICS; do
        nook_up "$slot"
        carry_tcp "$slot"
        nook_down
        # Linux's figures are there if its case ran before on the same machine. Its driver had the e1000.
        if [ "$slot" = 05 ] && [ -e /tmp/linux_in ]; then
            result "{\"of_linux_out\": $(ratio "$(bits_per_second /tmp/out)" "$(cat /tmp/linux_out)"),
                \"of_linux_in\": $(ratio "$(bits_per_second /tmp/in)" "$(cat /tmp/linux_in)")}"
        fi
    done
}

# nook-run's self-test passes with each card through vfio-pci: INTx, and MSI on the e1000e. [90]
case_nook_run_selftest() {
    for slot in 05 06 07; do
        give "$slot" vfio-pci
        nook-run selftest /drivers/e1000.wasm --pci "00:$slot.0" --json /tmp/report || fail "slot $slot: it ended with $?"
        result "{\"$slot\": $(cat /tmp/report)}"
    done
}

# nook-run is killed under traffic and started again; the card comes up each time and then works for Linux. [400]
case_nook_run_is_killed_and_starts_again() {
    round=0
    while [ "$round" -lt "$KILLS" ]; do
        nook_up 05
        traffic_begins
        kill -0 "$nook" || fail "nook-run ended by itself in round $round"
        kill -KILL "$nook"
        wait "$nook" || true
        traffic_ends
        round=$((round + 1))
    done
    nook_up 05
    pings_20
    nook_down
    linux_up 05 e1000
    pings_20
    result "{\"kills\": $KILLS}"
}

# nook-run takes a card from Linux and gives it back, and not while its interface is up. [60]
case_nook_run_binds_and_unbinds() {
    load vfio_iommu_type1
    load vfio-pci
    interface=$(linux_up 05 e1000)
    refused "in use" nook-run bind 00:05.0
    [ "$(points_to "$(card 05)/driver")" = e1000 ] || fail "a refused bind changed the driver"
    ip link set "$interface" down
    ip addr flush dev "$interface"
    nook-run bind 00:05.0
    [ "$(points_to "$(card 05)/driver")" = vfio-pci ] || fail "bind did not bind"
    nook_up 05
    refused "in use" nook-run unbind 00:05.0
    pings_20
    nook_down
    nook-run unbind 00:05.0
    [ "$(points_to "$(card 05)/driver")" = e1000 ] || fail "unbind did not give the card back to e1000"
    linux_up 05 e1000
    pings_20
}

# What cannot be driven is refused with a message that says why and what to do. [60]
case_nook_run_refuses() {
    give 05 e1000
    refused "nook-run bind" nook-run /drivers/e1000.wasm --pci 00:05.0 --duration 5s
    refused "nook-run devices" nook-run /drivers/e1000.wasm --pci 00:0f.0 --duration 5s
    refused "nook-run devices" nook-run bind 00:0f.0
    [ "$(points_to "$(card 05)/driver")" = e1000 ] || fail "a refused run changed the driver"
}

# Registers as memory, by the operator's word: pings on each card. [120]
case_nook_run_pings_with_direct_registers() {
    for slot in $NICS; do
        nook_up "$slot" --mmio direct
        pings_20
        nook_down
    done
}

# A card that is told to reach outside of its window is stopped by the IOMMU, which tells whom it stopped. [120]
case_the_iommu_confines_each_card() {
    load vfio_iommu_type1
    load vfio-pci
    for card in 05:e1000 06:e1000 07:e1000e; do
        slot=${card%:*}
        give "$slot" "${card#*:}"
        dmesg -c > /dev/null
        vfio_check "00:$slot.0" card > /tmp/said 2>&1 || fail "slot $slot: $(tail -n 2 /tmp/said | tr '\n' ' ')"
        faults=$(dmesg | grep -c "DMAR:.*Request device \[00:$slot.0\].*fault addr" || true)
        [ "$faults" -gt 0 ] || fail "slot $slot: the kernel tells of no DMAR fault"
        result "{\"$slot\": {\"dmar_faults\": $faults}}"
    done
}

# A card that vanishes under traffic ends the run with a message, whichever way its registers are reached. [200]
case_nook_run_sees_a_card_vanish() {
    for mode in emulated direct; do
        for way in decoding remove; do
            nook_up 05 --mmio "$mode" 2> /tmp/said
            traffic_begins
            if [ "$way" = remove ]; then
                # The write returns when nook-run has let the card go.
                echo 1 > "$(card 05)/remove"
            else
                printf '\000\000' | dd of="$(card 05)/config" bs=1 seek=4 conv=notrunc 2> /dev/null
            fi
            status=0
            wait "$nook" || status=$?
            traffic_ends
            cat /tmp/said
            [ "$status" = 1 ] || [ "$status" = 4 ] || fail "$way, $mode: nook-run ended with $status"
            grep -q "gone" /tmp/said || fail "$way, $mode: it said: $(tail -n 3 /tmp/said | tr '\n' ' ')"
            result "{\"${way}_${mode}_status\": $status}"
            [ "$way" = decoding ] || echo 1 > /sys/bus/pci/rescan
        done
    done
    nook_up 05
    pings_20
    nook_down
}
