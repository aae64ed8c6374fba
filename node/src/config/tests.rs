use super::*;
use crate::storage::Durability;
use clap::{Args, FromArgMatches};
use proptest::prelude::*;
use std::fs;

fn flags(args: &[&str]) -> SettingFlags {
    let command = SettingFlags::augment_args(clap::Command::new("up").no_binary_name(true));
    SettingFlags::from_arg_matches(&command.get_matches_from(args)).unwrap()
}

/// Resolves with a data directory of its own, whose `starling.toml` has this text.
fn resolve(args: &[&str], variables: &[(&str, &str)], toml: &str) -> Result<Values, Error> {
    let home = tempfile::tempdir().unwrap();
    if !toml.is_empty() {
        fs::write(home.path().join(FILE), toml).unwrap();
    }
    let mut flags = flags(args);
    flags.add("dir", [home.path().to_str().unwrap().to_owned()]);
    let look_up = |name: &str| {
        variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value))
    };
    Values::resolve(&flags, &look_up)
}

/// A flag beats a variable, that a file, that the default: for every setting of the table.
#[test]
fn each_setting_takes_its_value_from_the_first_that_sets_it() {
    for setting in SETTINGS.iter().filter(|setting| !matches!(setting.key, "dir" | "config")) {
        let (args, by_flag) = match setting.kind {
            settings::Kind::Switch { sets, .. } => (vec![setting.flag_text()], sets.to_string()),
            _ => (vec![setting.flag_text(), "flag".to_owned()], "flag".to_owned()),
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let variable = setting.variable();
        let by_variable = [(variable.as_str(), "variable")];
        let by_file = format!("# first line\n{} = \"file\"\n", setting.key);

        type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, Option<&'a str>, &'a str);
        let cases: [Case; 4] = [
            (&args, &by_variable, &by_file, Some(&by_flag), &setting.flag_text()),
            (&[], &by_variable, &by_file, Some("variable"), &variable),
            (&[], &[], &by_file, Some("file"), "starling.toml:2"),
            (&[], &[], "", None, "default"),
        ];
        for (args, variables, toml, text, origin) in cases {
            let values = resolve(args, variables, toml).unwrap();
            let found = values.value(setting.key);
            if let Some(text) = text {
                assert_eq!(found.texts, [text], "{}", setting.key);
            }
            assert!(found.origin.to_string().ends_with(origin), "{}: {}", setting.key, found.origin);
        }
    }
}

#[test]
fn settings_have_names_and_help_of_their_own() {
    let mut keys: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), SETTINGS.len());
    assert!(SETTINGS.iter().all(|setting| !setting.help.is_empty()));
}

#[test]
fn defaults_can_be_used() {
    let options = Options::new(&resolve(&[], &[], "").unwrap()).unwrap();
    assert_eq!(options.resp, "127.0.0.1:7379".parse().unwrap());
    assert_eq!(options.listen.len(), 2);
    assert_eq!((options.wishes.n, options.wishes.r, options.wishes.w), (3, 2, 2));
    assert_eq!(options.durability, Durability::Synced);
    assert!(options.mdns && !options.insecure_resp && options.faults.is_none());
    assert!(options.asked_wishes.is_empty());
}

#[test]
fn lists_come_from_flags_variables_and_files() {
    let listen = |args: &[&str], variables: &[(&str, &str)], toml: &str| {
        Options::new(&resolve(args, variables, toml).unwrap()).unwrap().listen.len()
    };
    assert_eq!(listen(&["--listen", "/ip4/1.1.1.1/tcp/1", "--listen", "/ip4/1.1.1.1/tcp/2"], &[], ""), 2);
    assert_eq!(listen(&[], &[("STARLING_LISTEN", "/ip4/1.1.1.1/tcp/1, 1.1.1.1:7")], ""), 3);
    assert_eq!(listen(&[], &[], "listen = [\"/ip4/1.1.1.1/tcp/1\"]"), 1);
}

#[test]
fn quorums_follow_the_replicas() {
    let wishes = |args: &[&str]| Options::new(&resolve(args, &[], "").unwrap()).unwrap().wishes;
    let quorums = |args: &[&str]| (wishes(args).r, wishes(args).w);
    assert_eq!(quorums(&["--replicas", "1"]), (1, 1));
    assert_eq!(quorums(&["--replicas", "5"]), (3, 3));
    assert_eq!(quorums(&["--replicas", "5", "--write-quorum", "1"]), (3, 1));
}

#[test]
fn numbers_and_truth_values_are_written_plainly_in_toml() {
    let values = resolve(&[], &[], "weight = 50\nmdns = false\npartitions = 0x40").unwrap();
    let options = Options::new(&values).unwrap();
    assert_eq!((options.weight, options.mdns, options.wishes.partitions), (50, false, 64));
}

fn refused(args: &[&str], variables: &[(&str, &str)], toml: &str) -> String {
    let error = resolve(args, variables, toml).and_then(|values| Options::new(&values)).unwrap_err();
    assert_eq!(error.code(), crate::error::USAGE);
    error.to_string()
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let cases = [
        (refused(&[], &[], "name = \"a\"\nreplica = 3\n"), "starling.toml:2: there is no setting `replica`"),
        (refused(&[], &[], "replica = 3\n"), "did you mean `replicas`?"),
        (refused(&[], &[], "config = \"x\"\n"), "no setting `config`"),
        (refused(&[], &[], "dir = \"/x\"\n"), "`dir` cannot be set here"),
        (refused(&[], &[], "name = \n"), "starling.toml:1: this is not TOML"),
        (refused(&[], &[], "name = [\"a\"]\n"), "wrong shape"),
        (refused(&[], &[], "[resp]\na = 1\n"), "wrong shape"),
        (refused(&["--weight", "heavy"], &[], ""), "--weight: \"heavy\" cannot be used for `weight`"),
        (refused(&["--weight", "10001"], &[], ""), "up to 10000"),
        (refused(&["--threads", "0"], &[], ""), "from 1 to 256"),
        (refused(&[], &[("STARLING_RESP", "nowhere")], ""), "STARLING_RESP: \"nowhere\""),
        (refused(&[], &[("STARLING_MDNS", "perhaps")], ""), "true or false"),
        (refused(&["--join", "box"], &[], ""), "--join: \"box\" is neither host:port"),
        (refused(&["--name", &"x".repeat(65)], &[], ""), "at most 64 bytes"),
        (refused(&["--name", ""], &[], ""), "a name that people can read"),
        (refused(&["--name", " "], &[], ""), "a name that people can read"),
        (refused(&["--network", ""], &[], ""), "a name that people can read"),
        (refused(&["--partitions", "1000000"], &[], ""), "from 1 to 4096"),
        (refused(&["--partitions", "5000"], &[], ""), "from 1 to 4096"),
        (refused(&["--replicas", "0"], &[], ""), "from 1 to 16"),
        (refused(&["--durability", "none"], &[], ""), "synced or interval"),
        (refused(&["--faults"], &[("STARLING_BLOCK", "p1")], ""), "a peer id"),
        (refused(&["--log-format", "xml"], &[], ""), "auto, human or json"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}

#[test]
fn blocking_needs_the_fault_switch() {
    let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let blocked = [("STARLING_BLOCK", peer)];
    assert!(refused(&[], &blocked, "").contains("--faults"));
    let options = Options::new(&resolve(&["--faults"], &blocked, "").unwrap()).unwrap();
    assert_eq!(options.faults.unwrap().len(), 1);
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let error = resolve(&["--config", "/nowhere/starling.toml"], &[], "").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("/nowhere/starling.toml") && error.contains("--config"), "{error}");
}

#[test]
fn what_is_no_directory_is_named_and_not_the_file_in_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = |dir: &str| {
        let mut flags = flags(&[]);
        flags.add("dir", [dir.to_owned()]);
        Values::resolve(&flags, &|_| None).unwrap_err().to_string()
    };
    let error = refused(file.path().to_str().unwrap());
    assert!(error.contains("the data directory") && error.contains("--dir"), "{error}");
    assert!(!error.contains("starling.toml"), "{error}");
    assert!(refused("").contains("the path of a directory"));
}

#[test]
fn limits_that_would_break_a_peer_are_refused() {
    let options = |args: &[&str]| Options::new(&resolve(args, &[], "").unwrap());
    let limits = options(&["--strangers", "9", "--streams", "16", "--queue-mib", "21"]).unwrap().limits;
    assert_eq!((limits.strangers, limits.streams, limits.queue_bytes), (9, 16, 21 * 1024 * 1024));
    for (flag, value, said) in [
        ("--strangers", "0", "from 1 to 65535"),
        ("--streams", "15", "from 16 to 1024"),
        ("--queue-mib", "20", "from 21 to 1024"),
        ("--connections-per-peer", "0", "from 1 to"),
        ("--queue-mib", "many", "a whole number"),
    ] {
        let error = options(&[flag, value]).unwrap_err().to_string();
        assert!(error.contains(said), "{flag} {value}: {error}");
    }
}

proptest! {
    #[test]
    fn any_file_of_settings_is_taken_or_refused_with_its_place(
        text in prop_oneof![".{0,80}", "(zone|listen|clients|nonsense) = [\"\\[\\]0-9a-f'x\n]{0,20}"],
    ) {
        if let Err(error) = resolve(&[], &[], &text) {
            prop_assert!(error.to_string().contains("starling.toml"), "{error}");
        }
    }
}

#[test]
fn what_the_directory_has_kept_stands_before_the_defaults() {
    use crate::directory::Directory;
    use crate::network::{Wishes, found};
    let home = tempfile::tempdir().unwrap();
    let directory = Directory::open(home.path()).unwrap();
    let wishes = Wishes { name: "attic".into(), partitions: 64, n: 5, r: 2, w: 4 };
    found(&directory, &crate::transport::Keys::generate(), wishes.clone()).unwrap();
    keep_name(&directory, "bob");
    let resolved = |args: &[&str]| {
        let mut flags = flags(args);
        flags.add("dir", [home.path().to_str().unwrap().to_owned()]);
        Values::resolve(&flags, &|_| None).unwrap()
    };
    let values = resolved(&[]);
    let options = Options::new(&values).unwrap();
    assert_eq!((options.name.as_str(), options.is_named, options.wishes), ("bob", false, wishes));
    assert!(values.value("replicas").origin.to_string().ends_with("genesis.cbor"));
    let options = Options::new(&resolved(&["--name", "carol", "--replicas", "3"])).unwrap();
    assert_eq!((options.name.as_str(), options.is_named, options.wishes.n), ("carol", true, 3));
    // What else was in the way of what the network was made with is not in force.
    fs::write(home.path().join(FILE), "replicas = 2\nname = \"dave\"\n").unwrap();
    let options = Options::new(&resolved(&[])).unwrap();
    assert_eq!((options.name.as_str(), options.is_named, options.wishes.n), ("dave", true, 5));
}
