//! Finished modules that no pass has written: what is outside functions, and the rules one by one.

use crate::check::{self, CheckError};

/// Returns a module as it has to be, with `code` in a function that another one calls, and with `rest`.
fn finished(code: &str, rest: &str) -> String {
    format!(
        r#"(module
            (type $answer (func (result i32)))
            (import "host" "tick" (func $tick))
            (table $driver 2 funcref)
            (table $asked (export "nook_time_ask") 1 1 funcref)
            (memory (export "memory") 2 2)
            (memory $log (export "nook_undo_log") 1024 1024)
            (global $top (export "nook_undo_top") (mut i32) (i32.const 64))
            {rest}
            (func $ask (i32.const 0) (i32.const 0) (call_indirect $asked (type $answer)) (i32.atomic.store $log))
            (func $f (param $p i32) (local $i i32) {code})
            (func (export "nook_poll") (call $f (i32.const 7))))"#
    )
}

const CHECK: &str = "(if (i32.and (i32.atomic.load $log (i32.const 0)) (i32.const 1)) (then (call $ask)))";
const TRAP: &str = "(if (i32.and (i32.atomic.load $log (i32.const 0)) (i32.const 1)) (then (unreachable)))";

fn check(text: &str) -> Result<check::Checked, CheckError> {
    check::deadlines(&wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn refused(text: &str, word: &str) {
    let wrong = check(text).unwrap_err();
    assert!(!matches!(wrong, CheckError::Invalid(_)), "{wrong}\n{text}");
    assert!(wrong.to_string().contains(word), "{wrong} says nothing of `{word}`\n{text}");
}

#[test]
fn a_module_as_it_has_to_be_is_accepted() {
    check(&finished("", "")).unwrap();
    let checked = check(&finished(&format!("(loop $l {CHECK} (br $l))"), "")).unwrap();
    assert_eq!((checked.functions, checked.deadline_checks), (3, 1));
}

#[test]
fn what_is_outside_functions_is_checked_too() {
    let text = finished("", "");
    let without = |what: &str| text.replace(what, "");
    refused(&without("(export \"nook_time_ask\")"), "no table");
    refused(&without("(export \"nook_undo_top\")"), "no global");
    refused(&without("(export \"nook_undo_log\")"), "log memory");
    refused(&text.replace("(mut i32) (i32.const 64)", "(mut i32) (i32.const 0)"), "does not begin behind");
    refused(&finished("", "(elem (table $asked) (i32.const 0) func $f)"), "has elements");
    refused(&finished("", "(data (memory $log) (i32.const 0) \"\\01\")"), "data for the log memory");
    refused(&finished("", "(start $tick)"), "start function");
    refused(&finished("", "(memory 1 1)"), "second and last");
}

#[test]
fn a_function_that_elements_refer_to_has_a_check_if_it_is_long_and_one_that_only_the_host_calls_need_not() {
    let long = format!("(func $long {})", "(call $tick)".repeat(600));
    check(&finished("", &long)).unwrap();
    check(&finished("", &long.replace("$long", "$long (export \"nook_irq\")"))).unwrap();
    refused(
        &finished("", &format!("{long} (elem (table $driver) (i32.const 0) func $long)")),
        "no deadline check at its beginning",
    );
    refused(&finished("", &format!("{long} (elem func $long)")), "no deadline check at its beginning");
    refused(&finished("(call $long)", &long), "no deadline check at its beginning");
    check(&finished("", &format!("{} (elem func $long)", long.replace("$long", &format!("$long {CHECK}"))))).unwrap();
}

#[test]
fn a_check_behind_anything_that_may_take_long_is_none_at_the_beginning() {
    let calls = "(call $tick)".repeat(600);
    for before in ["(call $f (i32.const 1))", "(block)", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 9))"] {
        refused(&finished(&format!("{before} {CHECK} {calls}"), ""), "no deadline check at its beginning");
    }
}

#[test]
fn bulk_instructions_are_short_or_have_a_check_right_before_their_operands() {
    let fill = |length: &str| format!("(memory.fill (local.get $p) (local.get $i) {length})");
    check(&finished(&fill("(i32.const 4096)"), "")).unwrap();
    check(&finished(&format!("{CHECK} {}", fill("(local.get $p)")), "")).unwrap();
    refused(&finished(&fill("(i32.const 4097)"), ""), "a bulk instruction");
    refused(&finished(&fill("(i32.const -1)"), ""), "a bulk instruction");
    refused(&finished(&fill("(local.get $p)"), ""), "a bulk instruction");
    refused(&finished(&format!("{CHECK} (call $tick) {}", fill("(local.get $p)")), ""), "a bulk instruction");
    // Each is short, and together they are not.
    refused(&finished(&fill("(i32.const 4096)").repeat(3), "(elem func $f)"), "no deadline check at its beginning");
}

#[test]
fn what_may_take_as_long_as_it_likes_is_refused() {
    let grows = finished("(drop (memory.grow (i32.const 1)))", "");
    check(&grows).expect("memory of a fixed length says at once that it does not grow");
    refused(&grows.replace("\"memory\") 2 2", "\"memory\") 2 3"), "as long as it likes");
    refused(&finished("(drop (table.grow $driver (ref.null func) (i32.const 1)))", ""), "as long as it likes");
    refused(&finished("(table.fill $driver (i32.const 0) (ref.null func) (i32.const 1))", ""), "as long as it likes");
    refused(
        &finished("(table.set $asked (i32.const 0) (ref.func $f))", "(elem declare func $f)"),
        "a change of a table",
    );
    refused(
        &finished("(table.copy $asked $driver (i32.const 0) (i32.const 0) (i32.const 1))", ""),
        "a change of a table",
    );
    refused(&finished("(table.copy $driver $driver (i32.const 0) (i32.const 0) (i32.const 1))", ""), "a table copied");
    let wait = |memory: &str| {
        finished(&format!("(drop (memory.atomic.wait32 {memory} (i32.const 0) (i32.const 0) (i64.const 0)))"), "")
    };
    check(&wait("0")).expect("in memory that nobody shares it traps");
    refused(&wait("$log"), "neither a deadline check nor a store");
    refused(&wait("0").replace("\"memory\") 2 2", "\"memory\") 2 2 shared"), "others share");
}

#[test]
fn a_check_may_trap_only_where_no_long_call_comes() {
    let traps = format!("(loop $l {TRAP} (br $l))");
    assert_eq!(check(&finished(&traps, "")).unwrap().deadline_checks, 1);
    let wrong = "traps, although a call reaches it that may be long";
    for entry in ["nook_probe", "nook_work", "nook_set_mtu", "nook_poll2", "poll", "anything"] {
        let direct = format!("(func (export \"{entry}\") (call $f (i32.const 1)))");
        refused(&finished(&traps, &direct), wrong);
    }
    for entry in ["nook_irq", "nook_timer"] {
        check(&finished(&traps, &format!("(func (export \"{entry}\") (call $f (i32.const 1)))"))).unwrap();
    }
    // One more entry of the function itself, a way through others, and one through a table.
    refused(&finished(&traps, "(export \"nook_open\" (func $f))"), wrong);
    let way = "(func $a (return_call $b)) (func $b (call $f (i32.const 1))) (func (export \"nook_stop\") (call $a))";
    refused(&finished(&traps, way), wrong);
    let through = |call: &str| {
        format!(
            "(type $t (func)) (elem (table $driver) (i32.const 0) func $g) (func $g (call $f (i32.const 1)))
             (func (export \"nook_remove\") {call})"
        )
    };
    check(&finished(&traps, &through(""))).expect("what elements refer to is reached only by calls through tables");
    refused(&finished(&traps, &through("(call_indirect $driver (type $t) (i32.const 0))")), wrong);
    refused(&finished(&traps, &through("(return_call_indirect $driver (type $t) (i32.const 0))")), wrong);
}

#[test]
fn a_module_without_a_log_has_no_other_access_to_the_cells_memory() {
    let plain = |code: &str| {
        let text =
            finished(code, "").replace("nook_undo_log", "nook_time_cell").replace("(i32.const 64))", "(i32.const 0))");
        text.replace("(export \"nook_undo_top\") ", "")
    };
    check(&plain(&format!("(loop $l {CHECK} (br $l))"))).unwrap();
    refused(&plain("(i64.store $log (global.get $top) (i64.const 1))"), "may be the time cell's");
    refused(&plain("(i64.store $log (local.get $p) (i64.const 1))"), "may be the time cell's");
    refused(&plain("(loop $l (br $l))"), "without a deadline check");
}

#[test]
fn a_check_that_asks_nobody_is_refused() {
    let other = "(func $other (i32.const 0) (i32.const 0) (i32.atomic.store $log))";
    let check_code = CHECK.replace("$ask", "$other");
    refused(&finished(&check_code, other), "neither a deadline check nor a store");
    let nothing = "(func $other)";
    refused(&finished(&check_code, nothing), "anything but the question");
    let driver =
        "(func $other (i32.const 0) (i32.const 0) (call_indirect $driver (type $answer)) (i32.atomic.store $log))";
    refused(&finished(&check_code, driver), "neither a deadline check nor a store");
}

#[test]
fn a_local_that_keeps_the_logs_top_is_set_to_nothing_else() {
    let keep = "(local.set $i (global.get $top))";
    let store = "(i64.store $log (local.get $i) (i64.const 1))";
    check(&finished(&format!("{keep} {store}"), "")).unwrap();
    check(&finished(&format!("{keep} {store} {keep} {store}"), "")).unwrap();
    refused(&finished(&format!("{keep} (local.set $i (i32.const 0)) {store}"), ""), "keeps the log's top");
    refused(&finished(&format!("{store} {keep}"), ""), "may be the time cell's");
    let raise =
        |by: i32| format!("{keep} {store} (global.set $top (local.tee $i (i32.add (local.get $i) (i32.const {by}))))");
    check(&finished(&raise(8), "")).unwrap();
    refused(&finished(&raise(16), ""), "keeps the log's top");
}
