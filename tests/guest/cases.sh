# What is shown inside the guest. Sourced by init, after words.sh; a case is a function `case_NAME`.
#
# The line above a case says in one sentence what it shows, and in brackets how many seconds it may take. A case fails
# when a command fails, or when it calls `fail`.

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
case_a_card_returns_to_linux() {
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

# Linux's own drivers, in the words of its ethtool, after 20 pings. [90]
case_ethtool_of_linux() {
    for card in 05:e1000 07:e1000e; do
        interface=$(linux_up "${card%:*}" "${card#*:}")
        pings_20
        features=$(ethtool_says -k "$interface")
        counters=$(ethtool_says -S "$interface")
        give "${card%:*}" none
        result "{\"${card%:*}\": {\"features\": $features, \"counters\": $counters}}"
    done
}

# nook-run's driver of the same cards, in the words of ethtool and its own report, after 20 pings; they were counted. [150]
case_ethtool_of_nook() {
    for slot in 05 07; do
        nook_up "$slot"
        pings_20
        features=$(ethtool_says -k nook0)
        nook_down
        [ "$(number rx_all_packets /tmp/report.json)" -ge 20 ] || fail "slot $slot counted no pings"
        result "{\"$slot\": {\"features\": $features, \"counters\": $(driver_counters)}}"
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
    refused "03:00.0" nook-run /drivers/e1000.wasm --pci five --duration 5s
    [ "$(points_to "$(card 05)/driver")" = e1000 ] || fail "a refused run changed the driver"
    # Slot 09 holds QEMU's `edu`.
    give 09 vfio-pci
    refused "use another driver or another device" nook-run /drivers/e1000.wasm --pci 00:09.0 --duration 5s
    give 09 none
    give 05 vfio-pci
    refused "no permission to open /dev/vfio" /usr/bin/setpriv --reuid 1000 --clear-groups \
        nook-run /drivers/e1000.wasm --pci 00:05.0 --duration 5s --no-cache
    refused "needs root" /usr/bin/setpriv --reuid 1000 --clear-groups nook-run unbind 00:05.0
    nook_up 05
    refused "in use by process $nook" nook-run /drivers/e1000.wasm --pci 00:05.0 --duration 5s
    pings_20
    nook_down
    [ "$(points_to "$(card 05)/driver")" = vfio-pci ] || fail "a refused run changed the driver"
}

# A card whose IOMMU group has another user is refused until that one lets go. [60]
case_nook_run_refuses_a_group_that_others_use() {
    bus=$(basename "$(dirname "$(ls -d "$(card 08)"/0000:*:01.0/vendor)")")
    bus=${bus%:*}
    for member in 01:vfio-pci 02:e1000; do
        give_at "$bus:${member%%:*}.0" "${member#*:}"
    done
    refused "is not viable: $bus:02.0 (e1000)" nook-run /drivers/e1000.wasm --pci "$bus:01.0" --duration 5s
    give_at "$bus:01.0" none
    refused "cannot be taken in part" nook-run bind "$bus:01.0"
    [ ! -e "/sys/bus/pci/devices/$bus:01.0/driver" ] || fail "a refused bind left it bound"
    give_at "$bus:02.0" none
    nook-run bind "$bus:01.0"
    nook-run /drivers/e1000.wasm --pci "$bus:01.0" --duration 2s
    give_at "$bus:01.0" none
}

# The list of devices and the doctor tell what is so. [30]
case_nook_run_tells_what_there_is() {
    load tun
    give 05 vfio-pci
    give 06 e1000
    nook-run devices --json /drivers/e1000.wasm > /tmp/devices
    for card in 05:vfio-pci:100e 06:e1000:100f; do
        awk -v address="\"0000:00:${card%%:*}.0\"," '$1 == "\"address\":" { it = $2 == address } it' /tmp/devices > /tmp/one
        driver=${card#*:}
        driver=${driver%:*}
        for expected in "\"driver\": \"$driver\"" "\"e1000\"" "\"vendor\": 32902" "\"device\": $((0x${card##*:}))"; do
            grep -q "$expected" /tmp/one || fail "of ${card%%:*} it does not say $expected: $(tr -d '\n' < /tmp/one)"
        done
    done
    nook-run doctor --json > /tmp/doctor || fail "the doctor ended with $?: $(tr -d '\n' < /tmp/doctor)"
    [ "$(grep -c '"verdict": "good"' /tmp/doctor)" = 6 ] || fail "the doctor says: $(tr -d '\n' < /tmp/doctor)"
}

# Calls of the driver that end in traps are rolled back: no ping is lost, and the driver is never restarted. [240]
case_nook_run_rolls_calls_back() {
    # The code of a large driver that counts its instructions takes an emulated processor more than the usual minute.
    printf '[compiler]\ntime = "400s"\n' > /tmp/patient
    for slot in $NICS; do
        nook_up "$slot" --crash-every 100ms --policy /tmp/patient 2> /tmp/said
        before=$(grep -c "was restarted" /tmp/said || true)
        pings_20
        after=$(grep -c "was restarted" /tmp/said || true)
        nook_down
        cat /tmp/said
        rollbacks=$(number rollbacks /tmp/report.json)
        [ "$rollbacks" -gt 0 ] || fail "slot $slot: no call was ended and rolled back"
        [ "$before" = "$after" ] || fail "slot $slot: the driver was restarted under traffic"
        # DPDK's asks the PHY in the interrupt that says that the link is up, and what it writes there is not rolled back.
        [ "${DRIVER:-e1000}" != e1000 ] || [ "$before" = 0 ] || fail "slot $slot: the driver was restarted"
        result "{\"$slot\": {\"rollbacks\": $rollbacks, \"transactions\": $(number transactions /tmp/report.json), \"rollback_possible\": $(number rollback_possible /tmp/report.json)}}"
    done
}

# A driver that crashes is restored from a snapshot or restarted; without a kernel that watches pages the log serves. [250]
case_nook_run_comes_back_in_each_way() {
    printf '[rollback]\nmethod = "pages"\n' > /tmp/policy
    nook_up 05 --crash-at poll:20 --policy /tmp/policy 2> /tmp/said
    pings_20
    nook_down
    cat /tmp/said
    grep -q "calls are rolled back by the log instead" /tmp/said || fail "it does not say that pages are not watched"
    [ "$(number rollbacks /tmp/report.json)" = 1 ] || fail "without pages no call was rolled back"
    printf '[rollback]\nenabled = false\n[snapshots]\nevery = "100ms"\n[restart]\nwindow = "10ms"\n' > /tmp/policy
    for slot in 05 07; do
        comes_back "$slot" snapshot_restores restarts --policy /tmp/policy
        comes_back "$slot" restarts snapshot_restores --isolation sfi
    done
}

# A run of nook-run's e1000 driver through vfio-pci is the same again without the card, and so it is outside this machine. [200]
case_nook_run_is_the_same_again() {
    printf '[compiler]\ntime = "400s"\n' > /tmp/patient
    nook_up "${SLOT:-07}" --record /tmp/run.rec --policy /tmp/patient
    pings_20
    nook_down
    nook-run replay /tmp/run.rec "/drivers/${DRIVER:-e1000}.wasm" > /tmp/said 2>&1 || fail "it is not: $(tr '\n' ' ' < /tmp/said)"
    cat /tmp/said
    grep -q "the same to its end" /tmp/said || fail "it says: $(tr '\n' ' ' < /tmp/said)"
    result "{\"recording_bytes\": $(wc -c < /tmp/run.rec)}"
    replay_outside /tmp/run.rec
}

# A run of DPDK's driver through vfio-pci is the same again without the card, and so it is outside this machine. [400]
case_dpdk_is_the_same_again() {
    local DRIVER SLOT
    DRIVER=dpdk-e1000
    SLOT=05
    case_nook_run_is_the_same_again
}

# DPDK's driver in a nook answers pings through vfio-pci, and this is what each costs it. [400]
case_dpdk_pings() {
    local DRIVER
    DRIVER=dpdk-e1000
    case_nook_run_pings
}

# DPDK's driver in a nook fetches a 64 MiB file through vfio-pci without an error and carries TCP both ways. [500]
case_dpdk_carries_tcp() {
    local DRIVER
    DRIVER=dpdk-e1000
    case_nook_run_carries_tcp
}

# Calls of DPDK's driver that end in traps are rolled back: no ping is lost, and once the link is up it is not restarted. [900]
case_dpdk_is_rolled_back() {
    local DRIVER
    DRIVER=dpdk-e1000
    case_nook_run_rolls_calls_back
}

# DPDK's driver of the 82576 in a nook answers pings through vfio-pci, and this is what each costs it. [200]
case_dpdk_igb_pings() {
    local DRIVER NICS
    DRIVER=dpdk-igb
    NICS=05
    case_nook_run_pings
}

# DPDK's driver of the 82576 in a nook fetches a 64 MiB file through vfio-pci without an error and carries TCP both ways. [500]
case_dpdk_igb_carries_tcp() {
    local DRIVER NICS
    DRIVER=dpdk-igb
    NICS=05
    case_nook_run_carries_tcp
}

# What a frame costs Linux's own driver of the 82576 that answers echo requests. [120]
case_dpdk_igb_counts_of_linux() {
    count_answers "$(linux_up "$PEERED" igb)" apart together
}

# What a frame costs DPDK's driver of the 82576 in DPDK's testpmd, which answers echo requests. [180]
case_dpdk_igb_counts_of_testpmd() {
    case_dpdk_counts_of_testpmd
}

# What a frame costs DPDK's driver of the 82576 in a nook when the kernel above it answers echo requests. [500]
case_dpdk_igb_counts_of_nook() {
    nook_counts dpdk-igb
}

# What a frame costs Linux's own e1000 driver that answers echo requests. [120]
case_dpdk_counts_of_linux() {
    count_answers "$(linux_up "$PEERED" e1000)" apart together
}

# What a frame costs DPDK's driver where it was written for: in DPDK's testpmd, which answers echo requests. [180]
case_dpdk_counts_of_testpmd() {
    testpmd_up "$PEERED"
    count_answers "$(vfio_interrupt "$PEERED")" apart together
}

# What a frame costs nook-run's driver when the kernel above it answers echo requests. [240]
case_dpdk_counts_of_e1000() {
    nook_counts e1000
}

# What a frame costs DPDK's driver in a nook when the kernel above it answers echo requests. [500]
case_dpdk_counts_of_dpdk_e1000() {
    nook_counts dpdk-e1000
}

# Registers as memory, by the operator's word: pings on each card. [120]
case_nook_run_pings_with_direct_registers() {
    for slot in $NICS; do
        nook_up "$slot" --mmio direct
        pings_20
        nook_down
    done
}

# A card that is programmed to reach outside its window is stopped by the IOMMU, which names the card. [120]
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

# A driver that has its card send the kernel's code sends nothing of it; nook-run tells, goes on, and ends in order. [120]
case_a_stray_driver_is_confined() {
    for slot in 05 07; do
        give "$slot" vfio-pci
        load tun
        dmesg -c > /dev/null
        wire_begin "$slot"
        nook_runs stray-dma "$slot" 2> /tmp/said
        # Nobody need be asked for the address, so that there are frames to send.
        arp -s 10.0.2.2 52:55:0a:00:02:02
        ping -c 20 -i 0.05 -W 1 -q 10.0.2.2 > /tmp/ping || true
        wait_for 10 grep -q "blocked from memory outside" /tmp/said || fail "slot $slot: nook-run does not tell"
        kill -0 "$nook" || fail "slot $slot: nook-run ended by itself"
        nook_down
        wire_end "$slot"
        dmesg > /tmp/dmesg
        faults=$(grep -c "DMAR:.*DMA Read.*\[00:$slot.0\].*fault addr 0x1000000" /tmp/dmesg || true)
        [ "$faults" -gt 0 ] || fail "slot $slot: the kernel tells of no blocked read"
        [ "$(received /tmp/ping)" = 0 ] || fail "slot $slot: a ping came back"
        [ "$with_content" = 0 ] || fail "slot $slot: $with_content of $frames frames had content"
        told=$(number dma_faults /tmp/report.json)
        [ "$told" -gt 0 ] || fail "slot $slot: the report tells of no blocked access"
        result "{\"$slot\": {\"blocked_reads_logged\": $faults, \"reported\": $told, \"frames\": $frames, \"with_content\": $with_content}}"
        wire_begin "$slot"
        nook_up "$slot"
        pings_20
        nook_down
        wire_end "$slot"
        [ "$with_content" -ge 40 ] || fail "slot $slot: only $with_content frames had content, so that none is no proof"
    done
}

# A driver that is ended under traffic with its receiver on, and started again, finds no stale write in its window. [120]
case_no_stale_write_lands_after_a_restart() {
    # The 82540EM has no function reset, the 82574L has one.
    for slot in 05 07; do
        give "$slot" vfio-pci
        nook-restarts "00:$slot.0" > /tmp/seen 2> /tmp/said || fail "slot $slot: $(tail -n 2 /tmp/said) $(cat /tmp/seen)"
        result "{\"$slot\": $(cat /tmp/seen)}"
        nook_up "$slot"
        pings_20
        nook_down
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
    # That it answers is enough: see docs/hardware.md about its interrupts, without which a ping can be late.
    nook_up 05
    nook_down
}

# A kernel that is too old for --isolation mpk refuses it with the reason, and the doctor says it. [120]
case_an_old_kernel_keeps_no_domain() {
    grep -q ospke /proc/cpuinfo || fail "the kernel shows no ospke"
    refused "takes Linux 6.12 or later" nook-run /drivers/e1000.wasm --isolation mpk --exercise ping
    nook-run doctor > /tmp/doctor || true
    grep -q "takes Linux 6.12 or later" /tmp/doctor || fail "the doctor says: $(grep -i keys /tmp/doctor)"
}

# Without an IOMMU nothing is bound and nothing is driven. [60]
case_without_an_iommu_nook_run_refuses() {
    load vfio_iommu_type1
    load vfio-pci
    refused "has no IOMMU group" nook-run /drivers/e1000.wasm --pci 00:05.0 --duration 5s
    refused "never drives a device without an IOMMU" nook-run bind 00:05.0
    [ ! -e "$(card 05)/driver" ] || fail "a refused bind left it bound"
    refused "passthrough cannot work" nook-run doctor
    grep -q "this virtual machine has none" /tmp/said || fail "the doctor does not say what is missing"
}
