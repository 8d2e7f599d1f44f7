//! Debian's kernel and busybox: downloaded as packages and unpacked under `target/guest`, never installed. Works as
//! root and as a user.

use crate::foreign::archive::{self, Packages};
use crate::util;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The package that depends on the distribution's current kernel.
const KERNEL: &str = "linux-image-amd64";
/// The one that depends on the newest kernel of backports for virtual machines, which is short.
const NEWER_KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";
/// 70 MB over a slow line, and no more.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);
const LISTS_LIMIT: Duration = Duration::from_secs(120);

/// What was unpacked.
pub struct Debian {
    root: PathBuf,
    /// The kernel's release, as in `6.1.0-56-amd64`.
    pub release: String,
    /// Where each module's file is, by its name.
    modules: BTreeMap<String, PathBuf>,
}

impl Debian {
    /// Returns what is there from an earlier call, or else downloaded and unpacked now.
    pub fn find_or_fetch() -> Result<Debian> {
        Debian::in_folder(unpacked("debian", "Debian's kernel and busybox (70 MB, once)", |lists| {
            let shown = describe(KERNEL, lists)?;
            let kernel = kernel_package(&shown).with_context(|| format!("{KERNEL} depends on no kernel"))?;
            Ok(vec![kernel, BUSYBOX.into()])
        })?)
    }

    /// Returns the kernel of bookworm-backports: what is there from an earlier call, or else downloaded and unpacked
    /// now. apt checks it against the archive's signed index.
    pub fn newer() -> Result<Debian> {
        const NAME: &str = "newer-kernel";
        let apt = folder().join(format!("{NAME}-apt.{}", std::process::id()));
        let outcome = unpacked_by(NAME, |into| {
            println!("guest: downloading a newer kernel, of Debian's backports (35 MB, once)");
            archive::update(&apt, Path::new("/etc/apt"), Packages::Backports)?;
            let download = |package: &str| {
                let mut get = archive::apt_get(&apt);
                get.args(["-qq", "download", package]).current_dir(into);
                util::run_limited(&mut get, DOWNLOAD_LIMIT)
            };
            download(NEWER_KERNEL)?;
            let newest = names(into)?.into_iter().find(|name| name.starts_with(NEWER_KERNEL));
            let newest = newest.with_context(|| format!("{NEWER_KERNEL} was not downloaded"))?;
            let shown = util::output(Command::new("dpkg-deb").arg("--field").arg(into.join(newest)))?;
            download(&kernel_package(&shown).with_context(|| format!("{NEWER_KERNEL} depends on no kernel"))?)
        });
        // What cannot be removed is found by the next `cargo clean`.
        let _ = fs::remove_dir_all(&apt);
        Debian::in_folder(outcome?)
    }

    fn in_folder(root: PathBuf) -> Result<Debian> {
        let boot = root.join("boot");
        let mut kernels = names(&boot)?.into_iter().filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_string()));
        let release = kernels.next().with_context(|| format!("{} has no kernel", boot.display()))?;
        let mut modules = BTreeMap::new();
        collect_modules(&root.join("lib/modules").join(&release).join("kernel"), &mut modules)?;
        Ok(Debian { root, release, modules })
    }

    /// Busybox, statically linked.
    pub fn busybox(&self) -> Result<Vec<u8>> {
        read(&self.root.join("bin/busybox"))
    }

    /// Returns the kernel as its package has it, which unpacks itself.
    pub fn image(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Returns the kernel as an ELF file, which QEMU starts by its PVH note: without firmware, and without unpacking it
    /// slowly inside the emulated machine.
    pub fn vmlinux(&self) -> Result<PathBuf> {
        let path = self.root.join("vmlinux");
        if !path.exists() {
            let image = self.image();
            let packed = payload(&read(&image)?)
                .with_context(|| format!("{} is not a kernel image as expected", image.display()))?
                .to_vec();
            let packed_path = self.root.join("vmlinux.xz");
            fs::write(&packed_path, packed).with_context(|| format!("writing {}", packed_path.display()))?;
            let partial = self.root.join("vmlinux.partial");
            let out = fs::File::create(&partial).with_context(|| format!("making {}", partial.display()))?;
            // After the stream there is one more number, which is not xz's.
            let mut xz = Command::new("xz");
            xz.args(["--decompress", "--stdout", "--single-stream"]).arg(&packed_path).stdout(out);
            util::run(&mut xz)?;
            fs::rename(&partial, &path).with_context(|| format!("moving {} into place", partial.display()))?;
            fs::remove_file(&packed_path).with_context(|| format!("removing {}", packed_path.display()))?;
        }
        Ok(path)
    }

    /// Returns a module and all that it needs, as names in the order in which they must be loaded.
    pub fn load_order(&self, module: &str) -> Result<Vec<String>> {
        let mut order = Vec::new();
        self.visit(module, &mut order)?;
        Ok(order)
    }

    /// Returns a module's file.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        let path =
            self.modules.get(&plain(name)).with_context(|| format!("kernel {} has no module {name}", self.release))?;
        read(path)
    }

    fn visit(&self, module: &str, order: &mut Vec<String>) -> Result<()> {
        if order.iter().any(|loaded| plain(loaded) == plain(module)) {
            return Ok(());
        }
        for needed in needs(&self.module(module)?) {
            self.visit(&needed, order)?;
        }
        order.push(module.to_string());
        Ok(())
    }
}

/// `target/guest`: everything that the rig makes.
pub fn folder() -> PathBuf {
    util::target_dir().join("guest")
}

/// `target/guest/NAME` with packages of Debian unpacked in it: what is there from an earlier call, or else downloaded
/// and unpacked now. `choose` says which, by the package lists that it is given: ours or the system's.
pub fn unpacked(name: &str, what: &str, choose: impl Fn(Option<&Path>) -> Result<Vec<String>>) -> Result<PathBuf> {
    unpacked_by(name, |into| fetch(into, what, choose))
}

/// The same with packages that `fetch` puts into a folder.
fn unpacked_by(name: &str, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = folder().join(name);
    if !root.exists() {
        let partial = folder().join(format!("{name}.{}", std::process::id()));
        fs::create_dir_all(&partial).with_context(|| format!("making {}", partial.display()))?;
        let outcome = fetch(&partial).and_then(|()| unpack(&partial));
        if outcome.is_ok() {
            fs::rename(&partial, &root).with_context(|| format!("moving {} into place", partial.display()))?;
        } else {
            // The error is the news; what cannot be removed is found by the next `cargo clean`.
            let _ = fs::remove_dir_all(&partial);
        }
        outcome?;
    }
    Ok(root)
}

fn fetch(root: &Path, what: &str, choose: impl Fn(Option<&Path>) -> Result<Vec<String>>) -> Result<()> {
    if util::find_program("apt-get").is_none() {
        bail!("the guest is made of Debian's packages, and there is no apt-get here to fetch them with");
    }
    println!("guest: downloading {what}");
    let lists = root.join("apt");
    let outcome = download(root, None, &choose).or_else(|first| {
        // Lists that are missing or old: fetch our own, for which nobody has to be root.
        println!("guest: {first:#}; fetching the package lists");
        fs::create_dir_all(lists.join("lists/partial")).context("making a folder for the package lists")?;
        fs::create_dir_all(lists.join("cache/archives/partial")).context("making a folder for apt's cache")?;
        util::run_limited(apt("apt-get", Some(&lists)).args(["-qq", "update"]), LISTS_LIMIT)?;
        download(root, Some(&lists), &choose)
    });
    outcome.with_context(|| {
        format!(
            "the guest is made of Debian's packages, which must be downloaded once: {what}; this needs a network and the \
             package lists of a Debian for amd64"
        )
    })?;
    if lists.exists() {
        fs::remove_dir_all(&lists).context("removing the package lists")?;
    }
    Ok(())
}

/// Unpacks the packages in a folder into it.
fn unpack(root: &Path) -> Result<()> {
    let packages: Vec<_> = names(root)?.into_iter().filter(|name| name.ends_with(".deb")).collect();
    for package in packages {
        let package = root.join(package);
        util::run(Command::new("dpkg").arg("--extract").arg(&package).arg(root))?;
        fs::remove_file(&package).with_context(|| format!("removing {}", package.display()))?;
    }
    Ok(())
}

fn download(into: &Path, lists: Option<&Path>, choose: &impl Fn(Option<&Path>) -> Result<Vec<String>>) -> Result<()> {
    let mut get = apt("apt-get", lists);
    get.args(["-qq", "-o", "APT::Sandbox::User=", "download"]).args(choose(lists)?).current_dir(into);
    util::run_limited(&mut get, DOWNLOAD_LIMIT)
}

/// Returns what the package lists say of a package, which may be `NAME=VERSION`.
pub fn describe(package: &str, lists: Option<&Path>) -> Result<String> {
    util::output(apt("apt-cache", lists).args(["show", "--no-all-versions", package]))
}

/// apt, with our own lists or the system's.
fn apt(program: &str, lists: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).args(["-o", "Acquire::http::Timeout=30"]);
    if let Some(lists) = lists {
        for (option, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            command.arg("-o").arg(format!("{option}={}", lists.join(folder).display()));
        }
        command.args(["-o", "APT::Sandbox::User="]);
    }
    command
}

/// `linux-image-6.1.0-56-amd64` out of the description of the package that depends on it.
fn kernel_package(description: &str) -> Option<String> {
    let depends = description.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    names.into_iter().find(|name| name.starts_with("linux-image-")).map(String::from)
}

/// Returns the compressed kernel in a bzImage (Linux, Documentation/arch/x86/boot.rst: protocol 2.08 and later).
fn payload(image: &[u8]) -> Option<&[u8]> {
    const MAGIC: &[u8] = b"HdrS";
    const XZ: &[u8] = b"\xfd7zXZ\0";
    let word = |at: usize| Some(u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize);
    if image.get(0x202..0x206)? != MAGIC {
        return None;
    }
    let setup_sectors = match image.get(0x1f1)? {
        0 => 4,
        n => usize::from(*n),
    };
    let from = (setup_sectors + 1) * 512 + word(0x248)?;
    let payload = image.get(from..from + word(0x24c)?)?;
    payload.starts_with(XZ).then_some(payload)
}

/// Returns what a module says that it depends on, in its section `.modinfo`.
fn needs(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = &module[at + KEY.len()..];
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    let text = String::from_utf8_lossy(&value[..end]);
    text.split(',').filter(|name| !name.is_empty()).map(String::from).collect()
}

/// Module names are written with `-` and `_` for the same thing.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn collect_modules(folder: &Path, into: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for name in names(folder)? {
        let path = folder.join(&name);
        if path.is_dir() {
            collect_modules(&path, into)?;
        } else if let Some(module) = name.strip_suffix(".ko") {
            into.insert(plain(module), path);
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_distributions_package_depends_on() {
        let description =
            "Package: linux-image-amd64\nVersion: 6.1.1-1\nDepends: linux-image-6.1.0-9-amd64 (= 6.1.1-1)\n";
        assert_eq!(kernel_package(description).unwrap(), "linux-image-6.1.0-9-amd64");
        assert_eq!(kernel_package("Package: x\n"), None);
    }

    #[test]
    fn the_compressed_kernel_is_found_by_the_header_and_must_be_xz() {
        let mut image = vec![0; 4096];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248] = 16;
        image[0x24c] = 9;
        image[1040..1049].copy_from_slice(b"\xfd7zXZ\0abc");
        assert_eq!(payload(&image).unwrap(), b"\xfd7zXZ\0abc");
        image[1041] = b'8';
        assert_eq!(payload(&image), None);
        assert_eq!(payload(&image[..100]), None);
    }

    #[test]
    fn a_modules_needs_are_read_from_its_own_words() {
        assert_eq!(
            needs(b"\x7fELF\0license=GPL\0depends=vfio-pci-core,vfio\0name=vfio_pci\0"),
            ["vfio-pci-core", "vfio"]
        );
        assert!(needs(b"\x7fELF\0depends=\0").is_empty());
        assert!(needs(b"\x7fELF").is_empty());
    }
}
