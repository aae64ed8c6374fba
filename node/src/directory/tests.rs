use super::*;

/// Set for the process that this test starts: the directory to open.
const CHILD: &str = "STARLING_TEST_OPEN_DIRECTORY";

/// Runs this test again as a process of its own, which opens the directory; what it said.
fn open_in_another_process(test: &str, path: &Path) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD, path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_child() -> bool {
    let Some(path) = std::env::var_os(CHILD) else { return false };
    match Directory::open(Path::new(&path)) {
        Ok(_) => eprintln!("opened"),
        Err(e) => eprintln!("refused: {}", Error::from(e)),
    }
    true
}

#[test]
fn a_second_start_names_the_process_that_holds_the_directory() {
    if is_child() {
        return;
    }
    let test = "directory::tests::a_second_start_names_the_process_that_holds_the_directory";
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("p1");
    let first = Directory::open(&path).unwrap();
    let said = open_in_another_process(test, &path);
    assert!(said.contains(&format!("in use by process {}\n", std::process::id())), "{said}");
    assert!(said.contains("`starling console --dir ") && said.contains("--dir"), "{said}");
    drop(first);
    assert!(open_in_another_process(test, &path).contains("opened"));
}

#[test]
fn a_lock_that_nobody_holds_any_more_does_not_bar_the_way() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("lock"), "4711\n").unwrap();
    let directory = Directory::open(place.path()).unwrap();
    assert_eq!(holder(&directory.path().join("lock")), Holder(Some(std::process::id())));
}

/// As it is held by one who asks whether a peer runs there.
#[test]
fn a_lock_that_is_held_for_a_moment_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    drop(Directory::open(place.path()).unwrap());
    let asked = File::open(place.path().join("lock")).unwrap();
    asked.lock_shared().unwrap();
    let asking = std::thread::spawn(move || {
        std::thread::sleep(4 * LOCK_PAUSE);
        drop(asked);
    });
    Directory::open(place.path()).unwrap();
    asking.join().unwrap();
}

#[test]
fn a_lock_file_without_a_number_still_makes_a_sentence() {
    assert_eq!(Holder(None).to_string(), "another process");
}

#[test]
fn the_format_is_written_once_and_an_unknown_one_refused() {
    let place = tempfile::tempdir().unwrap();
    let format = place.path().join("format");
    drop(Directory::open(place.path()).unwrap());
    assert_eq!(fs::read_to_string(&format).unwrap(), "starling data 1\n");
    drop(Directory::open(place.path()).unwrap());

    for unknown in ["starling data 2\n", "", "\u{1b}[31mred", "starling data 10\n"] {
        fs::write(&format, unknown).unwrap();
        let error = Directory::open(place.path()).unwrap_err();
        assert!(matches!(&error, DirectoryError::Format { .. }), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert_eq!(fs::read_to_string(&format).unwrap(), unknown, "what is refused is left as it was");
    }
}

#[test]
fn data_without_a_format_is_refused_but_other_files_are_not_in_the_way() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("identity.key"), "kept").unwrap();
    drop(Directory::open(place.path()).unwrap());
    fs::remove_file(place.path().join("format")).unwrap();
    fs::create_dir(place.path().join("store")).unwrap();
    let error = Directory::open(place.path()).unwrap_err();
    assert!(matches!(error, DirectoryError::NoFormat { .. }), "{error}");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_an_error_that_names_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("p1");
    fs::write(&path, "").unwrap();
    let error = Directory::open(&path).unwrap_err().to_string();
    assert!(error.contains("create the data directory") && error.contains("p1"), "{error}");
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("members.cbor");
    // What a crash between writing and renaming leaves is overwritten.
    fs::write(place.path().join("members.cbor.tmp"), "half of something that was much longer").unwrap();
    write_atomically(&path, b"one").unwrap();
    write_atomically(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_peers_is_refused_and_left_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    for name in ["passwd", "hosts", "fstab", "b\u{1b}[31m"] {
        fs::write(place.path().join(name), "").unwrap();
    }
    // Files that a person may have put there for a peer.
    assert!(refuse_foreign(place.path()).is_ok());
    fs::create_dir(place.path().join("ssl")).unwrap();
    let error = Error::from(Directory::open(place.path()).unwrap_err()).to_string();
    assert!(
        error.contains("is no peer's, and not empty: it has b\\u{1b}[31m, fstab, hosts, 2 more"),
        "{error}"
    );
    assert!(error.contains("--dir"), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 5);
    // Somebody means it.
    fs::write(place.path().join("starling.toml"), "").unwrap();
    Directory::open(place.path()).unwrap();
}

#[test]
fn a_directory_that_was_made_for_a_peer_is_taken() {
    for names in [&["lost+found"][..], &["lock", "format.tmp"], &["log"], &["identity.key", "genesis.cbor"]] {
        let place = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(place.path().join(name), "").unwrap());
        Directory::open(place.path()).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_removed_or_replaced_is_in_its_place_no_more() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("p1");
    let directory = Directory::open(&path).unwrap();
    assert_eq!(directory.missing(), None);
    fs::rename(&path, place.path().join("moved")).unwrap();
    assert_eq!(directory.missing(), Some(&*path));
    let other = Directory::open(&path).unwrap();
    assert_eq!((directory.missing(), other.missing()), (Some(&*path), None));
}

#[cfg(unix)]
#[test]
fn a_store_that_is_moved_or_replaced_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let mut directory = Directory::open(place.path()).unwrap();
    let store = directory.store();
    fs::create_dir(&store).unwrap();
    directory.hold(store.clone()).unwrap();
    assert_eq!(directory.missing(), None);
    fs::rename(&store, place.path().join("moved")).unwrap();
    assert_eq!(directory.missing(), Some(&*store));
    fs::create_dir(&store).unwrap();
    assert_eq!(directory.missing(), Some(&*store));
}

#[cfg(unix)]
#[test]
fn data_is_for_this_user_alone_though_the_directory_is_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let open_to_all = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    open_to_all(place.path());
    let directory = Directory::open(place.path()).unwrap();
    let store = directory.store();
    drop(directory);
    assert!(!store.exists(), "storage makes it, whole or not at all");
    // As an earlier version has left it.
    fs::create_dir(&store).unwrap();
    open_to_all(&store);
    assert!(!is_private(&store));
    // As a backup may come back.
    let secrets = [KEY, INVITES].map(|file| place.path().join(file));
    for path in &secrets {
        fs::write(path, "secret").unwrap();
        open_to_all(path);
    }
    drop(Directory::open(place.path()).unwrap());
    assert_eq!((mode(place.path()), mode(&store)), (0o755, 0o700));
    assert_eq!(secrets.map(|path| mode(&path)), [0o600; 2]);
}

#[cfg(unix)]
#[test]
fn what_is_created_is_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a").join("b");
    let directory = Directory::open(&path).unwrap();
    assert_eq!(mode(directory.path()), 0o700);
    assert_eq!(mode(&path.join("format")), 0o600);
    assert_eq!(mode(&path.join("lock")), 0o600);
}
