# What is shown of --isolation mpk: with another kernel, on a processor with memory protection keys and on one without.
# Sourced by init; the lines above cases are as in cases.sh. DRIVERS is where the tests were built with their drivers.

# Runs tests of the program $1, the others of its arguments.
run_tests() {
    local program=$1
    shift
    env RUST_BACKTRACE=0 $LONG "$program" "$@" > /tmp/tests 2>&1 || {
        tail -60 /tmp/tests
        fail "$program $*: $(grep -m 1 panicked /tmp/tests)"
    }
    result "{\"$program $*\": \"$(grep -m 1 'test result' /tmp/tests | tr -d '"')\"}"
    # Without keys they would all pass.
    ! grep -q "not here" /tmp/tests || fail "$program found no keys: $(grep -m 1 'not here' /tmp/tests)"
}

# The doctor says that drivers can run behind protection keys. [120]
case_keys_are_found() {
    grep -q ospke /proc/cpuinfo || fail "the kernel shows no ospke"
    nook-run doctor > /tmp/doctor || true
    grep -q "protection keys.*for --isolation mpk" /tmp/doctor || fail "$(grep -i keys /tmp/doctor)"
}

# Each thing that a native driver does wrong ends its call with its fault, its host and others are as before. [600]
case_keys_hold_hostile_drivers() {
    run_tests test-mpk --test-threads 1 --nocapture
}

# The conformance suites of cards and disks pass behind protection keys, and a device can be taken away. [600]
case_keys_conform() {
    export NOOK_TEST_MPK_ONLY=1
    run_tests test-conformance --test-threads 1
    run_tests test-disk_conformance --test-threads 1
    run_tests test-revoke whatever_its_isolation
    unset NOOK_TEST_MPK_ONLY
}

# nook-run drives a card and a disk behind protection keys, without a fault and with what was sent. [600]
case_keys_carry_frames_and_blocks() {
    nook-run "$DRIVERS/e1000.wasm" --isolation mpk --exercise ping,tcp,rr --json /tmp/card || fail "the card: $?"
    [ "$(number fault_count /tmp/card)" = 0 ] || fail "the card's driver had faults"
    grep -q '"isolation": "mpk"' /tmp/card || fail "it ran at another level"
    nook-run "$DRIVERS/nvme.wasm" --isolation mpk --exercise write,verify --json /tmp/disk || fail "the disk: $?"
    [ "$(number fault_count /tmp/disk)" = 0 ] || fail "the disk's driver had faults"
}

# A driver behind a key and one in the sandbox run beside each other, while the second is crashed again and again. [600]
case_keys_stand_beside_the_sandbox() {
    nook-run --nook "$DRIVERS/e1000.wasm --isolation mpk --exercise ping,rr" \
        --nook "$DRIVERS/e1000.wasm --exercise ping,tcp --crash-every 20ms" --json /tmp/both || fail "they ended with $?"
    # Of both directions, and of each.
    [ "$(grep -c '"hash_ok": true' /tmp/both)" = 3 ] || fail "what the one in the sandbox carried is not what it was given"
    [ "$(grep -c '"received": 100,' /tmp/both)" = 2 ] || fail "not each ping was answered"
    [ "$(number fault_count /tmp/both)" = 0 ] || fail "the one behind a key had faults"
    grep -q '"isolation": "mpk"' /tmp/both || fail "none ran behind a key"
}

# On a processor without protection keys the level is refused with the reason, and the doctor says it. [120]
case_no_keys_is_said() {
    refused "no memory protection keys" nook-run "$DRIVERS/e1000.wasm" --isolation mpk --exercise ping
    nook-run doctor > /tmp/doctor || true
    grep -q "no memory protection keys" /tmp/doctor || fail "the doctor says: $(grep -i keys /tmp/doctor)"
}
