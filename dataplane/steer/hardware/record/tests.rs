//! Records in files: whose they are, and what becomes of those that say nothing or something else.

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tidegate-record-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place() -> Place {
    let (boot, driver) = ("a-boot".into(), "igb".into());
    Place { boot, namespace: 7, ifindex: 3, address: [2, 0, 0, 0, 0, 1], driver }
}

fn record() -> Record {
    let change = TableChange { before: vec![0, 1], ours: vec![0, 0], rings: 2, taken: vec![1] };
    Record { table: Some(change), ..Record::new(place()) }
}

/// Writes a record, as a process that is then killed.
fn leave(folder: &Folder, record: &Record) {
    let (mut journal, _) = Journal::open(&folder.0, &record.place, true).unwrap().unwrap();
    journal.write(record).unwrap();
}

#[test]
fn is_read_as_it_was_written_and_for_its_owner_alone() {
    let folder = Folder::new("written");
    assert!(!are_any(&folder.0));
    leave(&folder, &record());
    assert!(are_any(&folder.0));
    let path = folder.0.join("steering-7-3.json");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing beside it");
    let (journal, left) = Journal::open(&folder.0, &place(), false).unwrap().unwrap();
    assert_eq!(left.unwrap(), record());
    journal.remove().unwrap();
    assert!(!path.exists());
    assert!(Journal::open(&folder.0, &place(), false).unwrap().is_none());
    assert!(!path.exists(), "looking makes none");
}

/// One thing that is different each time: another boot, another card under the same number.
#[test]
fn of_another_boot_or_card_is_not_believed() {
    let others: [fn(&mut Place); 3] = [
        |it| it.boot = "another-boot".into(),
        |it| it.address[5] = 2,
        |it| it.driver = "veth".into(),
    ];
    for (index, other) in others.into_iter().enumerate() {
        let folder = Folder::new(&format!("other-{index}"));
        leave(&folder, &record());
        let mut here = place();
        other(&mut here);
        assert_eq!(look(&folder.0, &here).unwrap(), None);
        let (journal, left) = Journal::open(&folder.0, &here, false).unwrap().unwrap();
        assert_eq!(left, None);
        drop(journal);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "of no use to anybody");
    }
    // Another namespace, another number: another file.
    let folder = Folder::new("elsewhere");
    leave(&folder, &record());
    for here in [Place { namespace: 8, ..place() }, Place { ifindex: 4, ..place() }] {
        assert_eq!(look(&folder.0, &here).unwrap(), None);
        assert!(Journal::open(&folder.0, &here, false).unwrap().is_none());
    }
    assert!(look(&folder.0, &place()).unwrap().is_some());
}

#[test]
fn is_held_while_its_owner_lives() {
    let folder = Folder::new("held");
    let (mut owner, _) = Journal::open(&folder.0, &place(), true).unwrap().unwrap();
    let held = || Journal::open(&folder.0, &place(), true).unwrap_err();
    assert!(matches!(held(), Error::Held { pid: None }), "nothing is written yet");
    owner.write(&record()).unwrap();
    let own = std::process::id();
    assert!(matches!(held(), Error::Held { pid: Some(pid) } if pid == own));
    // Written again, it is another file; held as well.
    owner.write(&record()).unwrap();
    assert!(matches!(held(), Error::Held { .. }));
    assert!(look(&folder.0, &place()).unwrap().unwrap().1);
    drop(owner);
    assert!(!look(&folder.0, &place()).unwrap().unwrap().1);
    assert!(Journal::open(&folder.0, &place(), true).is_ok());
}

#[test]
fn that_says_nothing_was_left_before_anything_was_changed() {
    let folder = Folder::new("blank");
    let path = folder.0.join("steering-7-3.json");
    fs::write(&path, "").unwrap();
    assert_eq!(look(&folder.0, &place()).unwrap(), None);
    let (journal, left) = Journal::open(&folder.0, &place(), false).unwrap().unwrap();
    assert_eq!(left, None);
    drop(journal);
    assert!(!path.exists());
}

#[test]
fn that_cannot_be_read_is_an_error_and_stays() {
    let folder = Folder::new("garbled");
    let path = folder.0.join("steering-7-3.json");
    fs::write(&path, "{\"pid\": 1").unwrap();
    let error = Journal::open(&folder.0, &place(), true).unwrap_err();
    assert!(matches!(&error, Error::Garbled { path: named } if *named == path), "{error:?}");
    assert_eq!(look(&folder.0, &place()).unwrap(), None);
    assert!(path.exists());
}

#[test]
fn the_loopback_has_a_place_that_is_the_same_each_time() {
    let place = || {
        let (ethtool, mut netlink) = (Ethtool::open().unwrap(), Netlink::open().unwrap());
        Place::of("lo", &ethtool, &mut netlink).unwrap()
    };
    let here = place();
    assert_eq!(here, place());
    assert_eq!((here.boot.len(), here.ifindex, &*here.driver), (36, 1, "no driver"));
    let (ethtool, mut netlink) = (Ethtool::open().unwrap(), Netlink::open().unwrap());
    let error = Place::of("no-such-link", &ethtool, &mut netlink).unwrap_err();
    assert!(matches!(error, Error::NoInterface { .. }), "{error:?}");
}
