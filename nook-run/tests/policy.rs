//! `--policy FILE`: what is in it counts, and what cannot be in it is refused.

mod support;

use support::module::Module;
use support::{Place, assert_is_said, e1000};

#[test]
fn the_policy_decides_how_often_a_driver_may_come_back() {
    let poll = r#"(func (export "nook_poll") (param i32 i32 i32) (result i32) unreachable)"#;
    for budget in [0, 3] {
        let place = Place::new();
        let driver = place.file("faulty.wasm", Module { poll, ..Module::default() }.wasm());
        let policy = place.file("policy.toml", format!("[restart]\nbudget = {budget}\nbackoff_most = \"10ms\"\n"));
        let ended = place.nook_run([driver.as_os_str(), "--policy".as_ref(), policy.as_os_str()]).end();
        let says = format!("the driver is in quarantine after {budget} restarts: poll: trap");
        assert_is_said("a driver that always faults", &ended, 4, &[&says]);
    }
}

#[test]
fn a_policy_that_says_what_it_cannot_say_is_refused_before_anything_runs() {
    let rows = [
        ("[restart]\nbugdet = 3\n", ["policy.toml is not used: line 2, `bugdet = 3`: unknown field", "`budget`"]),
        ("[restart]\nwindow = 60\n", ["line 2, `window = 60`: invalid type", "such as \"250ms\""]),
        ("[restart]\nwindow = \"0s\"\n", ["restart.window: ", "longer than nothing"]),
        ("restart\n", ["line 1, `restart`: ", "policy.toml"]),
    ];
    for (text, says) in rows {
        let place = Place::new();
        place.file("policy.toml", text);
        let ended = place.nook_run([e1000().to_str().unwrap(), "--policy", "policy.toml"]).end();
        assert_is_said(text, &ended, 1, &says);
    }
    let ended = Place::new().nook_run([e1000().to_str().unwrap(), "--policy", "missing.toml"]).end();
    assert_is_said("no file", &ended, 1, &["cannot read the policy file missing.toml", "No such file"]);
}
