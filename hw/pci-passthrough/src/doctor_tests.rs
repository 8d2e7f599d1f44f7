//! The doctor on machines that are made up of files.

use super::*;

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// Returns a machine that lacks everything.
    fn bare() -> Self {
        Machine { folder: tempfile::tempdir().unwrap() }
    }

    /// Returns a machine that lacks nothing.
    fn ready() -> Self {
        Machine::bare()
            .with("sys/kernel/iommu_groups/7/type", "DMA\n")
            .with("proc/interrupts", "  24:  0  IR-PCI-MSI 81920-edge  eth0\n")
            .with("sys/bus/pci/drivers/vfio-pci/new_id", "")
            .with("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n")
            .with("dev/vfio/vfio", "")
            .with("dev/vfio/7", "")
            .with("dev/net/tun", "")
            .with("proc/self/status", "Name:\tnook-run\nCapEff:\t0000000000001000\n")
            .with(
                "proc/self/limits",
                "Max locked memory         unlimited            unlimited            bytes     \n",
            )
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn without(self, path: &str) -> Self {
        let path = self.folder.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        self
    }

    fn roots(&self) -> Roots {
        let at = |name: &str| self.folder.path().join(name);
        Roots { sys: at("sys"), proc: at("proc"), dev: at("dev") }
    }
}

/// Asserts a verdict, and that what was found and the remedy say `parts`.
fn expect(check: Check, verdict: Verdict, parts: &[&str]) {
    let said = format!("{}: {} / {}", check.name, check.found, check.remedy.clone().unwrap_or_default());
    assert_eq!(check.verdict, verdict, "{said}");
    assert_eq!(check.remedy.is_none(), verdict == Verdict::Good, "{said}");
    for part in parts {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn a_machine_that_lacks_nothing_is_reported_so() {
    for check in doctor(&Machine::ready().roots()) {
        assert_eq!(check.verdict, Verdict::Good, "{check:?}");
    }
}

#[test]
fn a_machine_that_lacks_everything_gets_a_remedy_for_each() {
    let checks = doctor(&Machine::bare().roots());
    assert_eq!(checks.len(), 6);
    for check in checks {
        assert_ne!(check.verdict, Verdict::Good, "{check:?}");
        assert!(check.remedy.is_some(), "{check:?}");
    }
}

#[test]
fn a_missing_iommu_is_explained_by_what_keeps_it_from_working() {
    use Verdict::Missing;
    let at = |machine: Machine| iommu(&machine.roots());
    expect(at(Machine::bare()), Missing, &["firmware", "systemctl reboot --firmware-setup"]);
    expect(at(Machine::bare().with("proc/cpuinfo", "flags\t: fpu hypervisor\n")), Missing, &["-device intel-iommu"]);
    let table = "sys/firmware/acpi/tables/DMAR";
    expect(at(Machine::bare().with(table, "")), Missing, &["VT-d", "intel_iommu=on", "update-grub"]);
    expect(at(Machine::bare().with("sys/firmware/acpi/tables/IVRS", "")), Missing, &["AMD-Vi"]);
    for word in ["iommu=off", "amd_iommu=off", "intel_iommu=sm_off,off"] {
        let machine = Machine::bare().with(table, "").with("proc/cmdline", &format!("quiet {word} panic=1\n"));
        expect(at(machine), Missing, &[word, "take"]);
    }
}

#[test]
fn groups_of_no_iommu_mode_are_no_iommu() {
    let group = "sys/kernel/iommu_groups/0/name";
    assert_eq!(iommu(&Machine::bare().with(group, "vfio-noiommu\n").roots()).verdict, Verdict::Missing);
    let mode = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    expect(iommu(&Machine::ready().with(mode, "Y\n").roots()), Verdict::Limited, &["never uses", "echo N > "]);
    assert_eq!(iommu(&Machine::ready().with(mode, "N\n").roots()).verdict, Verdict::Good);
}

#[test]
fn interrupts_that_are_not_remapped_are_refused_or_at_least_told() {
    let plain = || Machine::ready().with("proc/interrupts", "  24:  0  PCI-MSI 81920-edge  eth0\n");
    expect(interrupt_remapping(&plain().roots()), Verdict::Missing, &["x2APIC", "allow_unsafe_interrupts"]);
    let told = plain().with("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
    expect(interrupt_remapping(&told.roots()), Verdict::Limited, &["any interrupt", "echo N > "]);
}

#[test]
fn modules_are_named_one_by_one() {
    let machine = Machine::ready().without("sys/module/vfio_iommu_type1");
    expect(
        modules(&machine.roots()),
        Verdict::Missing,
        &["not loaded: vfio_iommu_type1 /", "modprobe -a vfio_iommu_type1 ("],
    );
    expect(modules(&Machine::bare().roots()), Verdict::Missing, &["modprobe -a vfio-pci vfio_iommu_type1"]);
}

#[test]
fn nodes_that_may_not_be_opened_are_named() {
    let machine = Machine::ready().with("dev/vfio/12", "");
    let check = permissions(&machine.roots(), |node| !node.ends_with("7"));
    expect(check, Verdict::Missing, &["vfio/7 /", "chown $USER", "vfio/7"]);
    expect(permissions(&machine.roots(), |_| true), Verdict::Good, &["2 groups"]);
    expect(permissions(&machine.roots(), |node| !node.ends_with("vfio")), Verdict::Missing, &["vfio/vfio"]);
    expect(permissions(&Machine::bare().roots(), |_| true), Verdict::Missing, &["modprobe vfio-pci"]);
    let unbound = Machine::ready().without("dev/vfio/7");
    expect(permissions(&unbound.roots(), |_| true), Verdict::Good, &["nook-run bind"]);
}

#[test]
fn the_limit_of_locked_memory_counts_only_without_the_capability() {
    let limit = |text: &str| {
        Machine::ready().with("proc/self/limits", &format!("Max locked memory         {text}  1  bytes\n"))
    };
    expect(locked_memory(&limit("67108864").roots()), Verdict::Good, &["65536 KiB"]);
    expect(locked_memory(&limit("8388608").roots()), Verdict::Limited, &["8192 KiB", "ulimit -l"]);
    expect(locked_memory(&limit("65536").roots()), Verdict::Missing, &["smallest DMA window", "LimitMEMLOCK"]);
    let privileged = limit("65536").with("proc/self/status", "CapEff:\t000001ffffffffff\n");
    expect(locked_memory(&privileged.roots()), Verdict::Good, &["CAP_IPC_LOCK"]);
    expect(locked_memory(&Machine::bare().roots()), Verdict::Limited, &["cannot be read"]);
}

#[test]
fn without_tap_the_rest_still_works() {
    use Verdict::{Good, Limited};
    expect(tap(&Machine::bare().roots(), |_| true), Limited, &["modprobe tun"]);
    expect(tap(&Machine::ready().roots(), |_| false), Limited, &["net/tun"]);
    expect(tap(&Machine::ready().roots(), |_| true), Good, &[]);
    let user = Machine::ready().with("proc/self/status", "CapEff:\t0000000000000000\n");
    expect(tap(&user.roots(), |_| true), Limited, &["ip tuntap add dev nook0 mode tap user $USER"]);
}

#[test]
fn a_check_is_an_object_with_four_fields_in_json() {
    let check = missing("TAP", "none", "make one");
    let expected = serde_json::json!({"name": "TAP", "verdict": "missing", "found": "none", "remedy": "make one"});
    assert_eq!(serde_json::to_value(&check).unwrap(), expected);
}

#[test]
fn this_machine_can_be_looked_at() {
    assert_eq!(doctor(&Roots::default()).len(), 6);
}
