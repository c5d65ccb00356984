use super::*;

const POLICY: &[u8] = b"version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: 1000\n";
const NOW: Timestamp = Timestamp(1_790_000_000_000);

fn at(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 + seconds * 1000)
}

fn put(store: &Store, domain: &str, now: Timestamp) {
    let entry = Entry::new(domain, "1", POLICY, now).unwrap();
    store.put(entry, POLICY);
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

#[test]
fn a_policy_holds_for_its_age_and_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mta-sts");
    put(&Store::open(path.clone(), NOW), "a.test", NOW);
    let store = Store::open(path.clone(), at(999));
    let entry = store.get("a.test", at(999)).unwrap();
    assert_eq!(entry.id, "1");
    assert!(entry.policy.admits("mx.a.test"));
    assert!(store.get("b.test", at(999)).is_none());
    assert!(store.get("a.test", at(1000)).is_none());
    assert!(
        Store::open(path.clone(), at(1000))
            .get("a.test", at(1))
            .is_none()
    );
    assert!(files(&path).is_empty());
}

#[test]
fn a_policy_of_the_future_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_path_buf();
    put(&Store::open(path.clone(), NOW), "a.test", at(10));
    assert!(Store::open(path, NOW).get("a.test", NOW).is_none());
}

#[test]
fn a_file_that_was_changed_is_not_believed() {
    let spoil: [fn(String) -> String; 6] = [
        |text| text.replace("enforce", "testing"),
        |text| text.replace("mx.a.test", "mx.b.test"),
        |text| text.replace("a.test", "c.test"),
        |text| text.replacen("000", "001", 1),
        |text| text[..text.len() / 2].to_owned(),
        |_| "x".repeat(1 << 20),
    ];
    for (number, spoil) in spoil.into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_path_buf();
        put(&Store::open(path.clone(), NOW), "a.test", NOW);
        let file = files(&path).remove(0);
        let text = fs::read_to_string(&file).unwrap();
        let spoilt = spoil(text.clone());
        assert_ne!(text, spoilt);
        fs::write(&file, spoilt).unwrap();
        let store = Store::open(path.clone(), NOW);
        for domain in ["a.test", "c.test"] {
            assert!(store.get(domain, at(1)).is_none(), "{number}");
        }
        assert!(!file.exists());
    }
}

#[test]
fn a_file_is_believed_under_its_own_name_alone_and_others_are_left_in_peace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_path_buf();
    put(&Store::open(path.clone(), NOW), "a.test", NOW);
    let file = files(&path).remove(0);
    fs::rename(&file, path.join(file_name("b.test"))).unwrap();
    fs::write(path.join("README"), "not ours").unwrap();
    let store = Store::open(path.clone(), NOW);
    assert!(store.get("a.test", NOW).is_none() && store.get("b.test", NOW).is_none());
    assert_eq!(files(&path), [path.join("README")]);
}

#[test]
fn without_a_directory_policies_are_kept_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let store = Store::open(file.join("mta-sts"), NOW);
    put(&store, "a.test", NOW);
    assert!(store.get("a.test", NOW).is_some());
}

#[test]
fn policies_are_renewed_at_half_of_their_age_and_swept_at_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().to_path_buf(), NOW);
    put(&store, "a.test", NOW);
    assert_eq!(store.stale(at(499)).len(), 0);
    assert_eq!(store.stale(at(500)).len(), 1);
    store.sweep(at(999));
    assert_eq!(files(directory.path()).len(), 1);
    store.sweep(at(1000));
    assert_eq!(files(directory.path()).len(), 0);
}

#[test]
fn the_oldest_make_room() {
    let entry = |number: u64| {
        let domain = format!("{number}.test");
        let entry = Entry::new(&domain, "1", POLICY, at(number)).unwrap();
        (domain, Arc::new(entry))
    };
    let mut entries: HashMap<_, _> = (0..ENTRIES as u64).map(entry).collect();
    assert_eq!(surplus(&mut entries), [""; 0]);
    entries.extend([entry(ENTRIES as u64)]);
    assert_eq!(surplus(&mut entries).len(), SURPLUS);
    assert!(!entries.contains_key("99.test") && entries.contains_key("100.test"));
}
