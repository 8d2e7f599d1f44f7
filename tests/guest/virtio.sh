# What is shown of virtio devices inside the guest, where the drivers are those above the crate virtio-drivers. Sourced by
# init, after words.sh and disk.sh; see cases.sh for what a case is.
#
# Settings: VIRTIO_CARD and VIRTIO_DISK (the slots of a card and of a disk with iommu_platform=on, the disk's serial
# number is virtio-disk), VIRTIO_PAST (that of a card without).

# A virtio card and a virtio disk behind the IOMMU carry what they are given, by interrupts, and reach nothing else. [300]
case_virtio_devices_carry_what_they_are_given() {
    local DRIVER DISK
    dmesg -c > /dev/null
    DRIVER=virtio-net
    nook_up "$VIRTIO_CARD"
    ping_and_count "$VIRTIO_CARD" "$(vfio_interrupt "$VIRTIO_CARD")"
    result "{\"pings\": $(received /tmp/ping)}"
    carry_tcp "$VIRTIO_CARD"
    nook_down
    virtio_was_well "$VIRTIO_CARD"
    DRIVER=virtio-blk
    DISK=$VIRTIO_DISK
    disk_run 0 --exercise write,fsync,verify --destroy-data virtio-disk
    virtio_was_well "$DISK"
    result "{\"writes\": $(number writes /tmp/report.json), \"flushes\": $(number flushes /tmp/report.json)}"
}

# Fails if the run that the report is of, of the device in slot $1, had a fault, a blocked access or no messages.
virtio_was_well() {
    grep -q '"interrupts": "msix"' /tmp/report.json || fail "slot $1: $(grep '"interrupts"' /tmp/report.json)"
    [ "$(number irqs /tmp/report.json)" -gt 0 ] || fail "slot $1: no interrupt came"
    [ "$(number fault_count /tmp/report.json)" = 0 ] || fail "slot $1: there were faults"
    [ "$(number dma_faults /tmp/report.json)" = 0 ] || fail "slot $1: accesses were blocked"
    [ "$(dmesg | grep -c "DMAR:.*Request device \[00:$1.0\]" || true)" = 0 ] || fail "slot $1: the kernel tells of DMAR faults"
}

# A virtio device that goes past the IOMMU is refused with the remedy before it is driven, though vfio-pci gives it out. [30]
case_virtio_past_the_iommu_is_refused() {
    give "$VIRTIO_PAST" vfio-pci
    load tun
    refused "disable-legacy=on,iommu_platform=on" nook-run /drivers/virtio-net.wasm --pci "00:$VIRTIO_PAST.0" --tap nook0
    grep -q "does not offer ACCESS_PLATFORM" /tmp/said || fail "it does not say why: $(tr '\n' ' ' < /tmp/said)"
    [ ! -e /sys/class/net/nook0 ] || fail "it left an interface"
}
