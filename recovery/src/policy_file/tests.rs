use super::*;

fn refusal(text: &str) -> String {
    PolicyFile::parse(text).unwrap_err().to_string()
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(PolicyFile::parse("").unwrap().policy(), Policy::default());
    assert_eq!(PolicyFile::parse("[restart]").unwrap(), PolicyFile::default());
}

#[test]
fn every_key_is_heard() {
    let text = "[restart]\nbudget = 3\nwindow = \"2m\"\nbackoff_first = \"50us\"\nbackoff_most = \"7s\"\n\
                resubmit = \"never\"
[snapshots]
keep = 5
every = \"1m\"
\
                [rollback]
enabled = false
retries = 2
";
    let expected = Policy {
        rollback: false,
        retries: 2,
        restarts: 3,
        window_ns: 120_000_000_000,
        backoff_first_ns: 50_000,
        backoff_most_ns: 7_000_000_000,
        resubmit: false,
        snapshots: 5,
        snapshot_every_ns: 60_000_000_000,
    };
    assert_eq!(PolicyFile::parse(text).unwrap().policy(), expected);
}

#[test]
fn what_the_compiler_may_use_is_the_files_to_say() {
    assert_eq!(PolicyFile::default().compiler(), (60_000_000_000, 1 << 30));
    let file = PolicyFile::parse("[compiler]\ntime = \"2s\"\nmemory_mib = 64").unwrap();
    assert_eq!(file.compiler(), (2_000_000_000, 64 << 20));
    assert!(refusal("[compiler]\nmemory_mib = -1").contains("memory_mib"));
}

#[test]
fn reads_of_a_disk_are_compared_if_the_file_says_so() {
    let bytes = |text| PolicyFile::parse(text).unwrap().verify_bytes();
    assert_eq!((bytes(""), bytes("[block]\nverify = \"off\"")), (None, None));
    assert_eq!(bytes("[block]\nverify = \"crc\""), Some(64 << 20));
    assert_eq!(bytes("[block]\nverify = \"crc\"\nverify_mib = 1"), Some(1 << 20));
    for text in ["verify = \"sha\"", "verify_mib = 0", "verify_mib = 5000"] {
        assert!(refusal(&format!("[block]\n{text}")).contains("verify"), "{text}");
    }
}

#[test]
fn a_disk_has_as_long_for_a_request_as_the_file_says() {
    assert_eq!(PolicyFile::default().budgets(Class::Block), Budgets::default());
    let file = PolicyFile::parse("[block]\nrequest = \"30s\"").unwrap();
    let budgets = [Class::Block, Class::Net].map(|class| file.budgets(class).transmit_ns);
    assert_eq!(budgets, [30_000_000_000, Budgets::default().transmit_ns]);
    assert_eq!((PolicyFile::default().probe_ns(), file.probe_ns()), (None, None));
    assert_eq!(PolicyFile::parse("[block]\nprobe = \"2s\"").unwrap().probe_ns(), Some(2_000_000_000));
    assert!(refusal("[block]\nprobe = \"9ms\"").contains("block.probe: 0 s, or at least 10 ms"));
    assert!(refusal("[block]\nrequest = \"99ms\"").contains("block.request: at least 100 ms"));
}

#[test]
fn calls_are_rolled_back_by_the_log_unless_the_file_says_pages() {
    assert_eq!(PolicyFile::default().method(), RollbackMethod::Log);
    assert_eq!(PolicyFile::parse("[rollback]\nmethod = \"pages\"").unwrap().method(), RollbackMethod::Pages);
}

#[test]
fn a_driver_begins_with_transactions_unless_the_file_says_otherwise() {
    let begins = |text| PolicyFile::parse(text).unwrap().begins_with_sfi();
    assert!(!begins("") && !begins("[isolation]\nbegin = \"sfi+txn\"") && begins("[isolation]\nbegin = \"sfi\""));
    let refusal = refusal("[isolation]\nbegin = \"native\"");
    assert!(refusal.contains("`sfi`") && refusal.contains("`sfi+txn`"), "{refusal}");
}

#[test]
fn bundles_go_where_the_file_says_or_nowhere() {
    let text = "[bundles]\nfolder = \"/x\"\nkeep = 2\nevery = \"0s\"\nrollbacks = 1\nmemory = \"all\"\n";
    let expected = BundleConfig {
        folder: "/x".into(),
        keep: 2,
        every_ns: 0,
        rollbacks: 1,
        memory: MemoryDump::All,
        driver_file: "/d.wasm".into(),
        driver_sha256: [7; 32],
        registers: "map".into(),
    };
    let bundles = |text: &str, state: Option<&str>| {
        let policy = PolicyFile::parse(text).unwrap();
        policy.bundles(state.map(Path::new), Path::new("/d.wasm"), [7; 32], "map".into())
    };
    assert_eq!(bundles(text, Some("/s")), Some(expected));
    assert_eq!(bundles("[bundles]\nfolder = \"/x\"\nkeep = 0", Some("/s")), None);
    assert_eq!(bundles("", Some("/s")).map(|config| config.folder), Some("/s/crashes".into()));
    assert_eq!(bundles("", None), None);
}

#[test]
fn the_documented_file_is_the_default() {
    let text = include_str!("../../../docs/policy.md");
    let toml = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(PolicyFile::parse(toml).unwrap(), PolicyFile::default());
}

#[test]
fn what_is_refused_is_named_together_with_what_is_allowed() {
    let cases: [(&str, &[&str]); 13] = [
        ("[restart]\nresubmit = \"once\"", &["resubmit", "`again`", "`never`"]),
        ("[rollback]\nmethod = \"copy\"", &["method", "`log`", "`pages`"]),
        ("[bundles]\nmemory = \"some\"", &["memory", "`nothing`", "`private`", "`all`"]),
        ("[bundles]\nkeep = 100000", &["keep", "u16"]),
        ("[restart\nbudget = 1", &["line 1", "`[restart`"]),
        ("[restart]\nwindw = \"1s\"", &["windw", "line 2", "`window`", "`backoff_first`"]),
        ("[restrat]", &["restrat", "`restart`"]),
        ("restart = 3", &["restart", "line 1"]),
        ("[restart]\nbudget = -1", &["budget", "line 2", "u32"]),
        ("[restart]\nwindow = 60", &["window", "line 2", "such as \"250ms\""]),
        ("[restart]\nwindow = \"60 parsecs\"", &["window", "60 parsecs", "us, ms, s, m or h"]),
        ("[restart]\nwindow = \"0s\"", &["restart.window", "longer than nothing"]),
        ("[restart]\nbackoff_first = \"2s\"", &["restart.backoff_first", "restart.backoff_most"]),
    ];
    for (text, words) in cases {
        let refusal = refusal(text);
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        for word in words {
            assert!(refusal.contains(word), "{text:?}: `{word}` is not in: {refusal}");
        }
    }
}

#[test]
fn times_have_units_and_an_end() {
    assert_eq!(time("168h"), Some(Time(MOST_NS)));
    for text in ["169h", "", "s", "10", "-1s", "1.5s", "1S", "99999999999999999999s", "1s "] {
        assert_eq!(time(text), None, "{text}");
    }
}

#[test]
fn who_sums_up_and_cuts_frames_can_be_said() {
    let believes = |text| PolicyFile::parse(text).unwrap().believes_checksums();
    assert!(believes("") && believes("[net]\nchecksums = \"device\""));
    assert!(!believes("[net]\nchecksums = \"host\""));
    let leaves = |text| PolicyFile::parse(text).unwrap().leaves_offloads();
    assert!(leaves("") && !leaves("[net]\noffloads = \"host\""));
    assert!(refusal("[net]\nchecksums = \"nobody\"").contains("checksums"));
}
