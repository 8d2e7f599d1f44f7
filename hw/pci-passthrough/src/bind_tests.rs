//! Binding on a made-up sysfs tree with a kernel that moves its links as Linux does.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::sysfs::made_up::{Tree, address};

/// Acts on writes to `unbind`, `driver_override` and `drivers_probe`.
struct FakeKernel {
    sysfs: Sysfs,
    /// The driver that the kernel itself would choose.
    native: &'static str,
    /// Drivers that refuse the device.
    refusing: Vec<&'static str>,
    log: Vec<String>,
}

impl Kernel for FakeKernel {
    fn write(&mut self, path: &Path, text: &str) -> io::Result<()> {
        self.log.push(format!("{} < {}", path.file_name().unwrap().to_str().unwrap(), text.trim()));
        match path.file_name().unwrap().to_str().unwrap() {
            "unbind" => fs::remove_file(path.parent().unwrap()),
            "driver_override" => fs::write(path, if text.trim().is_empty() { "(null)\n" } else { text }),
            "drivers_probe" => {
                let at = address(text);
                let wanted = self.sysfs.device_file(at, "driver_override").unwrap().unwrap();
                let driver = if wanted == "(null)" { self.native } else { wanted.as_str() };
                let folder = self.sysfs.driver_path(driver);
                if self.refusing.contains(&driver) || !folder.exists() {
                    return Ok(());
                }
                symlink(folder, self.sysfs.device_path(at).join("driver"))
            }
            other => panic!("unexpected write to {other}"),
        }
    }

    fn load_module(&mut self, name: &str) -> Result<(), String> {
        self.log.push(format!("modprobe {name}"));
        fs::create_dir_all(self.sysfs.driver_path(name)).map_err(|error| error.to_string())
    }
}

fn binder(tree: &Tree) -> Binder<FakeKernel> {
    let kernel = FakeKernel { sysfs: tree.sysfs(), native: "e1000", refusing: Vec::new(), log: Vec::new() };
    Binder::with(tree.sysfs(), tree.folder.path().join("proc"), tree.folder.path().join("run"), kernel)
}

fn free_nic() -> Tree {
    let tree = Tree::new();
    tree.nic("03:00.0", Some("e1000"), Some(7)).interface("03:00.0", "eth0", 0x1002);
    tree
}

#[test]
fn a_free_device_is_bound_and_later_given_back_to_its_driver() {
    let tree = free_nic();
    let at = address("03:00.0");
    let mut binder = binder(&tree);
    let bound = binder.bind(at, &NetUse::default(), false).unwrap();
    assert_eq!(bound, Bound { address: at, from: Some("e1000".into()), already: false, blocked_by: vec![] });
    assert_eq!(tree.sysfs().device(at).unwrap().driver.as_deref(), Some("vfio-pci"));
    assert_eq!(
        binder.kernel.log,
        ["modprobe vfio-pci", "unbind < 0000:03:00.0", "driver_override < vfio-pci", "drivers_probe < 0000:03:00.0"]
    );
    assert!(binder.bind(at, &NetUse::default(), false).unwrap().already);
    let released = binder.unbind(at, false).unwrap();
    assert_eq!(released.to.as_deref(), Some("e1000"));
    assert_eq!(tree.sysfs().device_file(at, "driver_override").unwrap().as_deref(), Some("(null)"));
    assert_eq!(binder.remembered(at), None);
}

#[test]
fn an_override_that_an_administrator_had_set_is_restored() {
    let tree = free_nic();
    let at = address("03:00.0");
    fs::write(tree.path("03:00.0").join("driver_override"), "e1000\n").unwrap();
    let mut binder = binder(&tree);
    binder.kernel.native = "other";
    binder.bind(at, &NetUse::default(), false).unwrap();
    assert_eq!(binder.unbind(at, false).unwrap().to.as_deref(), Some("e1000"));
    assert_eq!(tree.sysfs().device_file(at, "driver_override").unwrap().as_deref(), Some("e1000"));
}

#[test]
fn an_interface_that_is_up_or_addressed_or_routed_is_refused_unless_forced() {
    let tree = Tree::new();
    tree.nic("03:00.0", Some("e1000"), Some(7)).interface("03:00.0", "eth0", 0x1003);
    let at = address("03:00.0");
    let net = NetUse {
        addresses: BTreeSet::from([("eth0".into(), "10.0.2.15".into())]),
        routes: BTreeSet::from([("eth0".into(), "0.0.0.0/0".into())]),
    };
    let mut binder = binder(&tree);
    let message = binder.bind(at, &net, false).unwrap_err().to_string();
    for part in ["eth0 is up", "10.0.2.15", "0.0.0.0/0", "ip link set eth0 down", "--force", "nothing was changed"] {
        assert!(message.contains(part), "no `{part}` in: {message}");
    }
    assert!(binder.kernel.log.is_empty(), "{:?}", binder.kernel.log);
    assert!(!binder.bind(at, &net, true).unwrap().already);
}

#[test]
fn an_interface_that_is_down_but_has_a_route_is_refused() {
    let tree = free_nic();
    let net = NetUse { routes: BTreeSet::from([("eth0".into(), "10.0.0.0/8".into())]), ..NetUse::default() };
    let message = binder(&tree).bind(address("03:00.0"), &net, false).unwrap_err().to_string();
    assert!(message.contains("10.0.0.0/8") && !message.contains("is up"), "{message}");
}

#[test]
fn an_interface_of_a_bridge_or_in_another_namespace_is_refused() {
    let tree = free_nic();
    symlink("../../br0", tree.path("03:00.0").join("net/eth0/master")).unwrap();
    let message = binder(&tree).bind(address("03:00.0"), &NetUse::default(), false).unwrap_err().to_string();
    assert!(message.contains("belongs to br0"), "{message}");
    fs::remove_dir_all(tree.path("03:00.0").join("net/eth0")).unwrap();
    let message = binder(&tree).bind(address("03:00.0"), &NetUse::default(), false).unwrap_err().to_string();
    assert!(message.contains("another network namespace"), "{message}");
}

#[test]
fn a_group_with_members_in_use_is_explained_and_the_rest_reported_when_forced() {
    let tree = free_nic();
    tree.nic("03:00.1", Some("e1000"), Some(7)).interface("03:00.1", "eth1", 0x1003);
    tree.nic("03:00.2", Some("pci-stub"), Some(7));
    tree.nic("03:00.3", None, Some(7));
    let mut binder = binder(&tree);
    let message = binder.bind(address("03:00.0"), &NetUse::default(), false).unwrap_err().to_string();
    assert!(message.contains("0000:03:00.1 (bound to e1000, interface eth1)"), "{message}");
    assert!(!message.contains("03:00.2") && !message.contains("03:00.3"), "{message}");
    let bound = binder.bind(address("03:00.0"), &NetUse::default(), true).unwrap();
    assert_eq!(bound.blocked_by, ["0000:03:00.1 (bound to e1000, interface eth1)"]);
}

#[test]
fn without_an_iommu_not_even_force_helps() {
    let tree = Tree::new();
    tree.nic("03:00.0", Some("e1000"), None);
    tree.nic("04:00.0", Some("e1000"), Some(0));
    tree.write("kernel/iommu_groups/0/name", "vfio-noiommu\n");
    for at in ["03:00.0", "04:00.0"] {
        let error = binder(&tree).bind(address(at), &NetUse::default(), true).unwrap_err();
        assert!(matches!(error, BindError::NoIommu { .. }), "{error}");
    }
}

#[test]
fn bridges_and_devices_of_unknown_use_are_protected() {
    let tree = Tree::new();
    tree.nic("00:01.0", Some("pcieport"), Some(1));
    fs::write(tree.path("00:01.0").join("class"), "0x060400\n").unwrap();
    let error = binder(&tree).bind(address("00:01.0"), &NetUse::default(), true).unwrap_err();
    assert!(matches!(error, BindError::Bridge(_)), "{error}");
    tree.nic("00:02.0", Some("nvme"), Some(2));
    fs::write(tree.path("00:02.0").join("class"), "0x010802\n").unwrap();
    let message = binder(&tree).bind(address("00:02.0"), &NetUse::default(), false).unwrap_err().to_string();
    assert!(message.contains("nvme drives it"), "{message}");
}

#[test]
fn a_move_that_fails_half_way_is_undone() {
    let tree = free_nic();
    let at = address("03:00.0");
    let mut binder = binder(&tree);
    binder.kernel.refusing.push("vfio-pci");
    let error = binder.bind(at, &NetUse::default(), false).unwrap_err();
    assert!(matches!(&error, BindError::NotTaken { found: None, .. }), "{error}");
    assert_eq!(tree.sysfs().device(at).unwrap().driver.as_deref(), Some("e1000"));
    assert_eq!(binder.remembered(at), None);
}

#[test]
fn what_others_bound_goes_to_the_driver_that_the_kernel_chooses() {
    let tree = Tree::new();
    tree.nic("03:00.0", Some("vfio-pci"), Some(7));
    fs::create_dir_all(tree.sysfs().driver_path("e1000")).unwrap();
    assert_eq!(binder(&tree).unbind(address("03:00.0"), false).unwrap().to.as_deref(), Some("e1000"));
    let error = binder(&tree).unbind(address("03:00.0"), false).unwrap_err();
    assert!(matches!(error, BindError::NotBound { .. }), "{error}");
}

#[test]
fn a_device_that_a_process_drives_is_not_released() {
    let tree = Tree::new();
    tree.nic("03:00.0", Some("vfio-pci"), Some(7));
    tree.write("proc/4711/comm", "nook-run\n");
    fs::create_dir_all(tree.folder.path().join("proc/4711/fd")).unwrap();
    symlink("/dev/vfio/7", tree.folder.path().join("proc/4711/fd/5")).unwrap();
    let message = binder(&tree).unbind(address("03:00.0"), false).unwrap_err().to_string();
    assert!(message.contains("4711 (nook-run)"), "{message}");
}

#[test]
fn a_remembered_driver_cannot_lead_out_of_its_folder() {
    assert_eq!(Remembered::from_text("driver=../../x\n").driver, None);
    let kept = Remembered { driver: Some("e1000".into()), driver_override: Some("e1000".into()) };
    assert_eq!(Remembered::from_text(&kept.to_text()), kept);
}
