//! Finished modules that no pass has written: what is outside functions, and the rules one by one.

use crate::check::{self, CheckError};

/// Returns a module as it has to be, with `code` in a function that another one calls, and with `rest`.
fn finished(code: &str, rest: &str) -> String {
    format!(
        r#"(module
            (type $answer (func (result i32)))
            (import "host" "tick" (func $tick))
            (table $driver 2 funcref)
            (table $asked (export "nook_undo_ask") 1 1 funcref)
            (memory (export "memory") 2 2)
            (memory $log (export "nook_undo_log") 1024 1024)
            (global $top (export "nook_undo_top") (mut i32) (i32.const 64))
            {rest}
            (func $ask (i32.const 0) (i32.const 0) (call_indirect $asked (type $answer)) (i32.atomic.store $log))
            (func $f (param $p i32) (local $i i32) {code})
            (func (export "nook_poll") (call $f (i32.const 7))))"#
    )
}

const CHECK: &str = "(if (i32.atomic.load $log (i32.const 0)) (then (call $ask)))";

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
    refused(&without("(export \"nook_undo_ask\")"), "no table");
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
    refused(&finished("(drop (memory.grow (i32.const 1)))", ""), "as long as it likes");
    refused(&finished("(drop (table.grow $driver (ref.null func) (i32.const 1)))", ""), "as long as it likes");
    refused(&finished("(table.fill $driver (i32.const 0) (ref.null func) (i32.const 1))", ""), "as long as it likes");
    refused(
        &finished("(table.set $asked (i32.const 0) (ref.func $f))", "(elem declare func $f)"),
        "a change of a table",
    );
    refused(
        &finished("(drop (memory.atomic.wait32 (i32.const 0) (i32.const 0) (i64.const 0)))", ""),
        "an instruction that waits",
    );
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
