//! Which crate may import which: the direction of every dependency between the rooms of the workspace.

use super::{Violation, matches};
use crate::cargo::{Dependency, Kind, Package, Reach};

const RULE: &str = "imports";

/// What the packages of one room may import, apart from their tests.
struct Room {
    /// Pattern of the packages' folders; the first room that matches counts.
    at: &'static str,
    /// Patterns of the workspace folders that they may import.
    workspace: &'static [&'static str],
    /// Whether they may import from outside the workspace at all.
    foreign: bool,
    /// Why, for the message.
    because: &'static str,
}

const ROOMS: &[Room] = &[
    Room { at: "abi", workspace: &[], foreign: false, because: "the contract imports nothing" },
    Room {
        at: "driver-sdk",
        workspace: &["abi", "hw/regs"],
        foreign: false,
        because: "the SDK imports only the contract and the register types",
    },
    Room { at: "driver-sdk/virtio", workspace: &["driver-sdk", "hw/*-regs"], foreign: true, because: "it wraps one" },
    Room {
        at: "drivers/*",
        workspace: &["driver-sdk", "driver-sdk/virtio", "hw/*-regs"],
        foreign: false,
        because: "a driver imports only the SDK and its register map",
    },
    Room { at: "hw/seed", workspace: &[], foreign: false, because: "a generator imports nothing" },
    Room { at: "hw/regs", workspace: &[], foreign: false, because: "the register types import nothing" },
    Room { at: "hw/regs-file", workspace: &["hw/regs"], foreign: true, because: "a map's file is of register types" },
    Room { at: "hw/*-regs", workspace: &["hw/regs"], foreign: false, because: "a map imports only the register types" },
    Room {
        at: "hw/bus",
        workspace: &["abi", "hw/regs"],
        foreign: true,
        because: "the device trait stands below devices and runtime",
    },
    Room {
        at: "hw/*",
        workspace: &["abi", "hw/bus", "hw/regs", "hw/*-regs", "hw/seed", "classes/*/api"],
        foreign: true,
        because: "a device knows its bus and its registers, not its driver",
    },
    Room {
        at: "instrument",
        workspace: &["abi"],
        foreign: true,
        because: "a module is rewritten and checked without an engine that could run it",
    },
    Room {
        at: "runtime",
        workspace: &["abi", "classes/*/api", "hw/bus", "hw/regs", "hw/seed", "instrument"],
        foreign: true,
        because: "the runtime names no device, and isolates even if recovery is broken",
    },
    Room {
        at: "wasi",
        workspace: &["abi", "runtime"],
        foreign: true,
        because: "a world beside the hostcalls knows the runtime that links it",
    },
    Room {
        at: "recovery",
        workspace: &["abi", "hw/bus", "hw/regs", "runtime"],
        foreign: true,
        because: "recovery works on a nook, whatever its class and device",
    },
    Room {
        at: "campaign",
        workspace: &["abi", "classes/*/api", "hw/bus", "hw/seed", "runtime"],
        foreign: true,
        because: "faults and their oracle share no code with what they try: no driver, no device, no recovery",
    },
    Room {
        at: "classes/*/api",
        workspace: &["abi", "hw/regs"],
        foreign: true,
        because: "what a class is plugged into is said without runtime, bus or implementation",
    },
    Room {
        at: "classes/*",
        workspace: &["abi", "classes/*/api", "hw/bus", "hw/seed"],
        foreign: true,
        because: "what a class is plugged into builds without runtime and engine",
    },
    Room {
        at: "isolation/compiled",
        workspace: &["abi", "runtime"],
        foreign: true,
        because: "a compiled driver is checked beside the levels that run it",
    },
    Room { at: "isolation/mpk", workspace: LEVEL, foreign: true, because: "a level stands alone and knows no device" },
    Room {
        at: "isolation/native",
        workspace: &["isolation/compiled", "abi", "hw/bus", "runtime"],
        foreign: true,
        because: "the native level stands beside the wasm one and knows no device",
    },
    Room {
        at: "isolation/process/guest",
        workspace: &["abi", "driver-sdk"],
        foreign: true,
        because: "the driver's side of the process level is what a driver's program is made of, and no more",
    },
    Room {
        at: "isolation/process",
        workspace: &["isolation/compiled", "abi", "hw/bus", "isolation/process/guest", "runtime"],
        foreign: true,
        because: "the process level stands beside the wasm one and knows no device",
    },
    Room { at: "clients/*", workspace: &[], foreign: false, because: "a client needs nothing but a socket" },
    Room {
        at: "nook-run",
        workspace: &[
            "abi",
            "build",
            "clients/*",
            "hw/*",
            "runtime",
            "recovery",
            "campaign",
            "classes/*",
            "classes/*/api",
            "isolation/mpk",
            "isolation/native",
            "isolation/process",
            "wasi",
        ],
        foreign: true,
        because: "the command knows every crate but drivers, which it loads, and those that test it",
    },
    Room {
        at: "benches/*",
        workspace: &["driver-sdk", "hw/*-regs"],
        foreign: false,
        because: "a driver of the benchmarks imports what a driver imports",
    },
    Room {
        at: "benches",
        workspace: &[
            "abi",
            "driver-sdk",
            "drivers/*",
            "hw/*",
            "instrument",
            "runtime",
            "recovery",
            "classes/*",
            "classes/*/api",
            "isolation/mpk",
            "isolation/native",
            "isolation/process",
            "nook-run",
            "tests", // The rig in which drivers are measured is that of the tests.
            "benches/*",
        ],
        foreign: true,
        because: "nothing of xtask is for use elsewhere",
    },
    Room { at: "tests", workspace: EVERYTHING, foreign: true, because: "nothing of xtask is for use elsewhere" },
    Room {
        at: "tests/*-process",
        workspace: &["driver-sdk", "isolation/process/guest"],
        foreign: true,
        because: "a test's program imports what a driver's program imports, and what it misuses",
    },
    Room {
        at: "tests/*",
        workspace: &["driver-sdk", "hw/*-regs"],
        foreign: false,
        because: "a test's driver imports what a driver imports",
    },
    Room { at: "build", workspace: &[], foreign: true, because: "drivers are built while the rest does not compile" },
    Room { at: "xtask", workspace: &["build"], foreign: true, because: "xtask works while the rest does not compile" },
];

/// What a level is made of.
const LEVEL: &[&str] = &["isolation/compiled", "abi", "runtime"];
const EVERYTHING: &[&str] = &[
    "abi",
    "build",
    "driver-sdk",
    "drivers/*",
    "hw/*",
    "instrument",
    "runtime",
    "recovery",
    "campaign",
    "classes/*",
    "classes/*/api",
    "isolation/*",
    "nook-run",
    "tests/*",
    "wasi",
];

/// What the trusted base is kept without, directly or not: a world for development, and what only it needs.
const UNTRUSTED: &[&str] = &["nook-wasi", "wasmtime-wasi", "tokio"];

/// Checks every package. `manifest` returns the text of a folder's Cargo.toml, to name the line.
pub fn check(packages: &[Package], reach: &Reach, manifest: impl Fn(&str) -> String) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in packages {
        let mut report = |dependency: &str, advice: String| {
            found.push(Violation {
                path: format!("{}/Cargo.toml", package.dir),
                line: line_of(&manifest(&package.dir), dependency),
                rule: RULE,
                advice,
            });
        };
        let Some(room) = ROOMS.iter().find(|room| matches(room.at, &package.dir)) else {
            report("", "this folder is no known room: say in xtask/src/tidy/imports.rs what it may import".into());
            continue;
        };
        for dependency in &package.dependencies {
            let target = packages.iter().find(|other| other.name == dependency.name);
            let verdict = match dependency.kind {
                Kind::Dev => dev(package, dependency, target),
                Kind::Normal | Kind::Build => direct(room, dependency, target),
            };
            if let Err(advice) = verdict {
                report(&dependency.name, advice);
            }
        }
        for name in reach.get(&package.name).into_iter().flatten() {
            // What is asked for by name has its own violation above.
            let indirect = package.dependencies.iter().all(|dependency| dependency.name != *name);
            if package.dir == "runtime" && UNTRUSTED.contains(&name.as_str()) {
                report(name, format!("{name} comes into the trusted base: what needs it belongs into wasi/"));
            }
            if indirect
                && (is_device_side(package) || package.dir.starts_with("classes/"))
                && is_engine_side(name, packages)
            {
                let advice = "nothing under hw/ and classes/ may reach runtime or engine";
                report("", format!("a dependency brings in {name}; {advice}"));
            }
        }
    }
    found
}

fn direct(room: &Room, dependency: &Dependency, target: Option<&Package>) -> Result<(), String> {
    let name = &dependency.name;
    match target {
        Some(target) if room.workspace.iter().any(|pattern| matches(pattern, &target.dir)) => Ok(()),
        Some(_) => Err(format!("remove {name}: {}", room.because)),
        None if !room.foreign => Err(format!("remove {name}, which is not of this workspace: {}", room.because)),
        None if (room.at.starts_with("hw/") || room.at.starts_with("classes/")) && is_engine(name) => {
            Err(format!("remove {name}: nothing under hw/ and classes/ knows the wasm engine"))
        }
        None if room.at == "instrument" && is_engine(name) => Err(format!("remove {name}: {}", room.because)),
        None if room.at == "recovery" && (is_engine(name) || name.starts_with("wasm")) => {
            Err(format!("remove {name}: modules are rewritten in instrument/ and run in runtime/"))
        }
        None => Ok(()),
    }
}

/// Tests may reach across rooms, but a device's tests must not need the engine that they stand below, and only
/// `tests/` and `benches/` see the whole.
fn dev(package: &Package, dependency: &Dependency, target: Option<&Package>) -> Result<(), String> {
    let name = &dependency.name;
    let engine = is_engine(name) || target.is_some_and(|target| target.dir == "runtime");
    if is_device_side(package) && engine {
        return Err(format!("remove {name}, in [dev-dependencies] too: test devices against drivers in tests/"));
    }
    let whole = target.is_some_and(|target| target.dir == "nook-run" || target.dir == "xtask");
    if whole && package.dir != "tests" && package.dir != "benches" {
        return Err(format!("remove {name}: only tests/ and benches/ import it; move the test there"));
    }
    Ok(())
}

fn is_device_side(package: &Package) -> bool {
    package.dir.starts_with("hw/")
}

fn is_engine(name: &str) -> bool {
    name == "wasmtime" || name.starts_with("wasmtime-") || name.starts_with("cranelift-")
}

fn is_engine_side(name: &str, packages: &[Package]) -> bool {
    is_engine(name) || packages.iter().any(|package| package.name == name && package.dir == "runtime")
}

/// Returns the line of Cargo.toml that asks for this dependency; the first line if none does by this name.
pub fn line_of(manifest: &str, dependency: &str) -> usize {
    let asks = |line: &str| {
        let key = line.trim_start().trim_start_matches('"').strip_prefix(dependency);
        !dependency.is_empty() && key.is_some_and(|rest| rest.starts_with(['.', ' ', '=', '"']))
            || line.contains(&format!("package = \"{dependency}\""))
    };
    manifest.lines().position(asks).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The workspace's folders with their packages' names.
    const NAMES: &[(&str, &str)] = &[
        ("abi", "nook-abi"),
        ("driver-sdk", "nook-sdk"),
        ("drivers/e1000-wasm", "e1000-wasm"),
        ("hw/regs", "nook-regs"),
        ("hw/e1000-regs", "e1000-regs"),
        ("hw/bus", "nook-bus"),
        ("hw/e1000-model", "e1000-model"),
        ("instrument", "nook-instrument"),
        ("runtime", "nook-runtime"),
        ("wasi", "nook-wasi"),
        ("recovery", "nook-recovery"),
        ("classes/net", "nook-net"),
        ("classes/net/api", "nook-net-api"),
        ("isolation/native", "nook-native"),
        ("nook-run", "nook-run"),
        ("benches", "nook-benches"),
        ("tests", "nook-tests"),
        ("xtask", "xtask"),
    ];

    /// Returns the workspace in which one package has one dependency.
    fn with(dir: &str, dependency: &str, kind: Kind) -> Vec<Package> {
        let package = |&(at, name): &(&str, &str)| Package {
            name: name.into(),
            dir: at.into(),
            dependencies: if at == dir {
                vec![Dependency { name: dependency.into(), named: dependency.into(), kind }]
            } else {
                Vec::new()
            },
            has_cdylib: false,
        };
        NAMES.iter().map(package).collect()
    }

    fn found(dir: &str, dependency: &str, kind: Kind) -> Vec<Violation> {
        check(&with(dir, dependency, kind), &Reach::new(), |_| String::new())
    }

    #[test]
    fn what_the_rooms_need_is_allowed() {
        for (dir, dependency) in [
            ("driver-sdk", "nook-abi"),
            ("driver-sdk", "nook-regs"),
            ("drivers/e1000-wasm", "nook-sdk"),
            ("drivers/e1000-wasm", "e1000-regs"),
            ("hw/e1000-regs", "nook-regs"),
            ("hw/bus", "nook-abi"),
            ("hw/bus", "libc"),
            ("hw/e1000-model", "nook-bus"),
            ("hw/e1000-model", "e1000-regs"),
            ("instrument", "nook-abi"),
            ("instrument", "wasmparser"),
            ("runtime", "nook-bus"),
            ("runtime", "nook-instrument"),
            ("runtime", "wasmtime"),
            ("wasi", "wasmtime-wasi"),
            ("recovery", "nook-runtime"),
            ("runtime", "nook-net-api"),
            ("classes/net", "nook-net-api"),
            ("classes/net/api", "nook-abi"),
            ("hw/e1000-model", "nook-net-api"),
            ("nook-run", "e1000-model"),
            ("nook-run", "nook-native"),
            ("tests", "nook-run"),
            ("benches", "nook-tests"),
        ] {
            assert_eq!(found(dir, dependency, Kind::Normal), [], "{dir} imports {dependency}");
        }
    }

    #[test]
    fn a_dependency_against_the_direction_is_a_violation() {
        for (dir, dependency) in [
            ("abi", "nook-regs"),
            ("abi", "bitflags"),
            ("hw/regs", "nook-abi"),
            ("hw/regs", "libc"),
            ("hw/e1000-regs", "nook-bus"),
            ("driver-sdk", "e1000-regs"),
            ("driver-sdk", "libc"),
            ("drivers/e1000-wasm", "nook-abi"),
            ("drivers/e1000-wasm", "nook-bus"),
            ("drivers/e1000-wasm", "bitflags"),
            ("hw/bus", "e1000-regs"),
            ("hw/bus", "wasmtime"),
            ("hw/e1000-model", "nook-runtime"),
            ("hw/e1000-model", "wasmtime-wasi"),
            ("hw/e1000-model", "cranelift-codegen"),
            ("instrument", "nook-bus"),
            ("instrument", "nook-runtime"),
            ("instrument", "wasmtime"),
            ("runtime", "nook-recovery"),
            ("runtime", "e1000-regs"),
            ("runtime", "e1000-model"),
            ("runtime", "nook-sdk"),
            ("runtime", "nook-wasi"),
            ("recovery", "nook-net"),
            ("recovery", "nook-instrument"),
            ("recovery", "wasmtime"),
            ("recovery", "wasm-encoder"),
            ("recovery", "e1000-model"),
            ("classes/net", "nook-recovery"),
            ("classes/net", "nook-runtime"),
            ("classes/net", "wasmtime"),
            ("runtime", "nook-net"),
            ("classes/net/api", "nook-runtime"),
            ("classes/net/api", "nook-bus"),
            ("hw/bus", "nook-net-api"),
            ("hw/e1000-model", "nook-net"),
            ("isolation/native", "e1000-wasm"),
            ("isolation/native", "nook-sdk"),
            ("nook-run", "e1000-wasm"),
            ("classes/net", "nook-native"),
            ("recovery", "nook-run"),
            ("nook-run", "nook-tests"),
            ("tests", "nook-benches"),
            ("tests", "xtask"),
            ("xtask", "nook-abi"),
        ] {
            for kind in [Kind::Normal, Kind::Build] {
                let found = found(dir, dependency, kind);
                assert_eq!(found.len(), 1, "{dir} imports {dependency} ({kind:?}): {found:?}");
                assert!(found[0].advice.contains(dependency), "{found:?}");
            }
        }
    }

    #[test]
    fn tests_of_a_crate_may_import_across_rooms() {
        assert_eq!(found("abi", "proptest", Kind::Dev), []);
        assert_eq!(found("drivers/e1000-wasm", "e1000-model", Kind::Dev), []);
        assert_eq!(found("runtime", "wat", Kind::Dev), []);
    }

    #[test]
    fn tests_under_hw_import_neither_engine_nor_runtime() {
        for dependency in ["wasmtime", "cranelift-native", "nook-runtime"] {
            assert_eq!(found("hw/e1000-model", dependency, Kind::Dev).len(), 1, "{dependency}");
        }
    }

    #[test]
    fn only_tests_and_benches_import_the_command() {
        assert_eq!(found("classes/net", "nook-run", Kind::Dev).len(), 1);
        assert_eq!(found("tests", "nook-run", Kind::Dev), []);
    }

    #[test]
    fn an_engine_that_comes_in_through_another_crate_is_seen() {
        for (dir, name, through) in [
            ("hw/e1000-model", "e1000-model", "wasmtime-environ"),
            ("hw/bus", "nook-bus", "nook-runtime"),
            ("classes/net", "nook-net", "wasmtime"),
        ] {
            let reach = Reach::from([(name.into(), BTreeSet::from(["helper".into(), through.into()]))]);
            let found = check(&with(dir, "helper", Kind::Normal), &reach, |_| String::new());
            assert!(matches!(&*found, [one] if one.advice.contains(through)), "{found:?}");
        }
        let reach = Reach::from([("nook-recovery".into(), BTreeSet::from(["wasmtime".into()]))]);
        assert_eq!(check(&with("recovery", "nook-runtime", Kind::Normal), &reach, |_| String::new()), []);
    }

    #[test]
    fn the_runtime_is_kept_without_what_only_a_world_for_development_needs() {
        let reach = Reach::from([("nook-runtime".into(), BTreeSet::from(["wasmtime".into(), "tokio".into()]))]);
        let found = check(&with("runtime", "wasmtime", Kind::Normal), &reach, |_| String::new());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].advice.starts_with("tokio comes into"), "{found:?}");
    }

    #[test]
    fn a_folder_without_a_rule_is_a_violation() {
        let package = Package { name: "p".into(), dir: "attic".into(), dependencies: Vec::new(), has_cdylib: false };
        let found = check(&[package], &Reach::new(), |_| String::new());
        assert!(found[0].advice.contains("no known room"), "{found:?}");
    }

    #[test]
    fn the_line_of_the_dependency_is_named() {
        let manifest = "[package]\nname = \"p\"\n[dependencies]\nnook-abi-more = \"1\"\nnook-abi.workspace = true\n\
                        other = { package = \"libc\", version = \"1\" }\n";
        assert_eq!(line_of(manifest, "nook-abi"), 5);
        assert_eq!(line_of(manifest, "libc"), 6);
        assert_eq!(line_of(manifest, "absent"), 1);
        let found = check(&with("abi", "nook-regs", Kind::Normal), &Reach::new(), |_| "\n\nnook-regs = \"1\"".into());
        assert_eq!((found[0].path.as_str(), found[0].line), ("abi/Cargo.toml", 3));
    }
}
