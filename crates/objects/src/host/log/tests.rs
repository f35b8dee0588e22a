//! The log with real files: what was settled is there after a start, what was torn is not.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

struct Told(mpsc::SyncSender<Settled>);

impl Submitter for Told {
    fn settled(&self, settled: Vec<Settled>) {
        for settled in settled {
            self.0.send(settled).expect("the test waits");
        }
    }
}

fn key(id: u8) -> ObjectKey {
    ObjectKey { namespace: [7; 16], id: [id; 32] }
}

fn commit(id: u8, seq: u64, page: u32, text: &str) -> Commit {
    let deltas = vec![Delta { page, offset: 10, bytes: Bytes::copy_from_slice(text.as_bytes()) }];
    Commit {
        key: key(id),
        epoch: 1,
        seq,
        pages: page.max(2),
        alarm: AlarmChange::Unchanged,
        name: None,
        deltas,
        removed: false,
    }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, open_files: 4, waiting_bytes: 64 << 20 }
}

fn open(directory: &Path) -> Log {
    Log::open(directory, options()).expect("the log opens")
}

/// Submits all at once and returns how they ended, in order.
fn settle(log: &Log, commits: Vec<Commit>) -> Vec<Settled> {
    let (sender, receiver) = mpsc::sync_channel(1 << 16);
    let told: Arc<dyn Submitter> = Arc::new(Told(sender));
    let count = commits.len();
    for commit in commits {
        log.submit(commit, Arc::clone(&told), 0);
    }
    (0..count).map(|_| receiver.recv_timeout(LIMIT).expect("is settled")).collect()
}

fn fine(log: &Log, commits: Vec<Commit>) {
    for settled in settle(log, commits) {
        settled.result.unwrap_or_else(|error| panic!("{}: {error}", settled.seq));
    }
}

fn text(log: &Log, id: u8, page: u32, length: usize) -> String {
    let data = log.object(key(id)).expect("opens").read_pages(page, 1).expect("is read");
    String::from_utf8_lossy(&data[10..10 + length]).into_owned()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("log")).expect("there").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    paths.sort();
    paths
}

/// Where in a segment each batch begins.
fn batches(path: &Path) -> Vec<usize> {
    let bytes = Bytes::from(fs::read(path).expect("there"));
    let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
    let segment = u64::from_str_radix(name, 16).expect("a number");
    (0..bytes.len()).step_by(512).filter(|at| record::read_batch(&bytes.slice(at..), segment).is_some()).collect()
}

#[test]
fn what_was_settled_is_there_after_a_start_and_the_files_need_not_be() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    let mut set = commit(1, 1, 1, "one");
    set.alarm = AlarmChange::SetTo(77);
    set.name = Some("room".to_owned());
    fine(&log, vec![set, commit(2, 1, 3, "two"), commit(1, 2, 1, "six")]);
    log.close();
    // As if the machine had lost what was not made durable: the files, of which only the log knows what belongs there.
    fs::remove_dir_all(directory.path().join("objects")).expect("is removed");
    let log = open(directory.path());
    assert_eq!(log.recovered().commits, 3);
    assert_eq!((text(&log, 1, 1, 3), text(&log, 2, 3, 3)), ("six".to_owned(), "two".to_owned()));
    let header = log.object(key(1)).expect("opens").header().expect("is read");
    let expected = Header { epoch: 1, seq: 2, pages: 2, alarm_ms: Some(77), name: Some("room".to_owned()) };
    assert_eq!(header, expected);
    assert_eq!(log.alarms().lock().next_ms(), Some(77));
    assert_eq!(segments(directory.path()).len(), 1);
}

#[test]
fn a_torn_end_is_cut_and_what_was_before_stays() {
    for torn_at in [0, 3, 20, 40, 60, 300] {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open(directory.path());
        fine(&log, vec![commit(1, 1, 1, "first")]);
        fine(&log, vec![commit(1, 2, 1, &"x".repeat(400))]);
        log.close();
        fs::remove_dir_all(directory.path().join("objects")).expect("is removed");
        let path = segments(directory.path()).remove(0);
        let last = *batches(&path).last().expect("a batch");
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        file.write_all_at(&[0xee; 64], (last + torn_at) as u64).expect("is torn");
        let log = open(directory.path());
        assert!(log.recovered().torn, "{torn_at}");
        assert_eq!((log.recovered().commits, text(&log, 1, 1, 5)), (1, "first".to_owned()), "{torn_at}");
        fine(&log, vec![commit(1, 2, 1, "again")]);
    }
}

#[test]
fn damage_before_the_end_is_no_torn_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for seq in 1..=3 {
        fine(&log, vec![commit(1, seq, 1, "text")]);
    }
    log.close();
    let path = segments(directory.path()).remove(0);
    let second = batches(&path)[1];
    let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
    file.write_all_at(&[0xee], (second + 50) as u64).expect("is damaged");
    let refused = Log::open(directory.path(), options());
    assert!(matches!(refused, Err(OpenLogError::Recover(RecoverError::Damaged { batch: 1, .. }))));
}

#[test]
fn a_missing_segment_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    fine(&log, vec![commit(1, 1, 1, "x")]);
    // Stays open at this path, so nothing of it is used again: three segments by hand, the middle one away.
    drop(log);
    let path = segments(directory.path()).remove(0);
    let logs = directory.path().join("log");
    for (segment, first_batch) in [(5, 1), (6, 9)] {
        let header = segment::SegmentHeader { segment, first_batch };
        let spare = segment::Spare::make(&logs, segment, 4096).expect("is made");
        spare.begin(&logs, header).expect("begins");
    }
    let refused = Log::open(directory.path(), options());
    assert!(matches!(refused, Err(OpenLogError::Recover(RecoverError::Damaged { .. }))), "{:?}", path);
    fs::remove_file(logs.join(format!("{:016x}.log", 5))).expect("is removed");
    assert!(Log::open(directory.path(), options()).is_err());
}

#[test]
fn segments_are_used_again_and_old_lives_are_not_replayed() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    let mut seq = 0;
    for round in 0..40 {
        let text = format!("{round:03}{}", "y".repeat(3000));
        let commits = (0..10).map(|at| commit(1, seq + 1 + at, 1, &text)).collect();
        seq += 10;
        fine(&log, commits);
    }
    assert!(log.alarms().lock().iter().next().is_none());
    log.close();
    assert!(segments(directory.path()).len() < 8, "{:?}", segments(directory.path()));
    let log = open(directory.path());
    assert!(log.recovered().commits < 400, "{:?}", log.recovered());
    assert_eq!(text(&log, 1, 1, 3), "039");
    assert_eq!(log.object(key(1)).expect("opens").header().expect("is read").seq, 400);
}

#[test]
fn an_earlier_activation_and_a_gap_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    let file = log.object(key(1)).expect("opens");
    let (first, _) = file.begin_epoch(0).expect("begins");
    let (second, header) = file.begin_epoch(0).expect("begins");
    assert!(second > first && header.seq == 0);
    let at = |epoch, seq| Commit { epoch, ..commit(1, seq, 1, "x") };
    let results = settle(&log, vec![at(first, 1), at(second, 2), at(second, 1), at(first, 2), at(second, 2)]);
    let fine: Vec<bool> = results.iter().map(|settled| settled.result.is_ok()).collect();
    assert_eq!(fine, [false, false, true, false, true]);
    assert!(matches!(results[0].result, Err(CommitError::Fenced { .. })));
    assert!(matches!(results[1].result, Err(CommitError::OutOfOrder { seq: 2, expected: 1 })));
}

#[test]
fn a_page_that_was_cut_off_comes_back_as_zeroes() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    let shrunk = Commit { pages: 1, deltas: Vec::new(), ..commit(1, 2, 1, "") };
    let grown = Commit { pages: 9, ..commit(1, 3, 2, "ab") };
    fine(&log, vec![commit(1, 1, 9, "old"), shrunk, grown]);
    assert_eq!((text(&log, 1, 9, 3), text(&log, 1, 2, 2)), ("\0\0\0".to_owned(), "ab".to_owned()));
    let gone = Commit { pages: 0, deltas: Vec::new(), ..commit(1, 4, 1, "") };
    fine(&log, vec![gone]);
    assert_eq!(text(&log, 1, 2, 2), "\0\0");
}

#[test]
fn two_hosts_do_not_use_one_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    assert!(matches!(Log::open(directory.path(), options()), Err(OpenLogError::InUse(_))));
    drop(log);
    drop(open(directory.path()));
}

#[test]
fn many_objects_with_few_files_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    for round in 1..=3 {
        fine(&log, (0..50).map(|id| commit(id, round, 1, &format!("{id:02}{round}"))).collect());
    }
    for id in 0..50 {
        assert_eq!(text(&log, id, 1, 3), format!("{id:02}3"));
    }
}

/// A file system of its own that gets full, where this user may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(bytes: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let size = format!("size={bytes}");
        nix::mount::mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            Some(size.as_str()),
        )
        .expect("tests that fill a disk run as root");
        SmallDisk(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).expect("is unmounted");
    }
}

#[test]
fn a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest() {
    let disk = SmallDisk::new(2 << 20);
    let log = open(disk.0.path());
    fine(&log, vec![commit(1, 1, 1, "kept")]);
    let large = Commit { pages: 100, ..commit(2, 1, 1, "large") };
    let filler = disk.0.path().join("filler");
    fs::write(&filler, vec![1; 1700 << 10]).expect("fits");
    let results = settle(&log, vec![large.clone(), Commit { seq: 2, ..large.clone() }, commit(1, 2, 1, "more")]);
    assert!(matches!(results[0].result, Err(CommitError::DiskFull)), "{:?}", results[0].result);
    assert!(matches!(results[1].result, Err(CommitError::OutOfOrder { .. })), "what builds on it");
    assert!(results[2].result.is_ok(), "an object that needs no room: {:?}", results[2].result);
    // A new segment has no room either: nothing is durable any more, until there is room.
    let mut seq = 2;
    let refused = loop {
        seq += 1;
        let settled = settle(&log, vec![commit(1, seq, 1, &"z".repeat(4000))]).remove(0);
        if let Err(error) = settled.result {
            break error;
        }
        assert!(seq < 1000, "the disk never got full");
        if seq == 3 {
            let rest = fs::OpenOptions::new().append(true).open(&filler).expect("opens");
            while std::io::Write::write_all(&mut &rest, &[1; 4096]).is_ok() {}
        }
    };
    assert!(matches!(refused, CommitError::DiskFull), "{refused}");
    fs::remove_file(&filler).expect("is removed");
    fine(&log, vec![commit(1, seq, 1, "again"), large]);
    drop(log);
    let log = open(disk.0.path());
    assert_eq!((text(&log, 1, 1, 5), text(&log, 2, 1, 5)), ("again".to_owned(), "large".to_owned()));
}

#[test]
fn a_removed_object_stays_away_and_begins_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let armed = Commit { alarm: AlarmChange::SetTo(9), name: Some("n".to_owned()), ..commit(1, 1, 1, "old") };
    let log = open(directory.path());
    fine(&log, vec![armed, commit(1, 2, 3, "older"), commit(2, 1, 1, "other")]);
    let path = log.files.path(&key(1));
    assert!(path.exists() && log.alarms().lock().of(&key(1)) == Some(9));
    let (epoch, header) = log.object(key(1)).expect("opens").begin_epoch(50).expect("begins");
    assert!(epoch == 50 && header.seq == 2);
    fine(&log, vec![Commit::removal(key(1), epoch, 3)]);
    assert!(!path.exists() && log.alarms().lock().of(&key(1)).is_none());
    // As after a kill: the log is replayed from its beginning, over whatever is there.
    drop(log);
    let log = open(directory.path());
    assert!(!path.exists() && log.alarms().lock().of(&key(1)).is_none());
    assert_eq!(text(&log, 2, 1, 5), "other");
    fine(&log, vec![commit(1, 1, 2, "new")]);
    assert_eq!((text(&log, 1, 2, 3), text(&log, 1, 3, 5)), ("new".to_owned(), "\0".repeat(5)));
    drop(log);
    assert_eq!(text(&open(directory.path()), 1, 2, 3), "new");
}

#[test]
fn what_follows_a_removal_in_one_batch_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let files = Files::new(directory.path().to_owned(), 4, Default::default());
    let again = Commit { epoch: 3, ..commit(1, 1, 1, "again") };
    files.apply(&[commit(1, 1, 1, "x"), Commit::removal(key(1), 2, 2), again]).expect("are applied");
    let file = files.open(key(1)).expect("opens");
    assert_eq!((file.header().expect("is read").seq, file.begin_epoch(0).expect("begins").0), (1, 4));
}

#[test]
fn a_deleted_namespace_is_gone_whatever_the_log_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let other = ObjectKey { namespace: [8; 16], id: [1; 32] };
    let log = open(directory.path());
    let armed = Commit { alarm: AlarmChange::SetTo(9), ..commit(1, 1, 1, "old") };
    fine(&log, vec![armed, commit(2, 1, 1, "old"), Commit { key: other, ..commit(1, 1, 1, "stays") }]);
    log.delete_namespace([7; 16]).expect("is deleted");
    let gone = || !directory.path().join("objects").join(hex::encode([7; 16])).exists();
    assert!(gone() && log.alarms().lock().of(&key(1)).is_none());
    let late = Commit { alarm: AlarmChange::SetTo(9), ..commit(1, 2, 1, "late") };
    let results = settle(&log, vec![late, commit(3, 1, 1, "new")]);
    assert!(results.iter().all(|settled| matches!(&settled.result, Err(CommitError::File(_)))), "{results:?}");
    assert!(gone() && log.object(key(1)).is_err() && log.alarms().lock().next_ms().is_none());
    log.delete_namespace([7; 16]).expect("again");
    drop(log);
    let log = open(directory.path());
    assert!(gone() && log.alarms().lock().next_ms().is_none());
    assert_eq!(log.object(other).expect("opens").header().expect("is read").seq, 1);
    assert!(fs::read_dir(directory.path().join("deleted")).expect("is there").next().is_none(), "and is forgotten");
}

/// The mark is what counts: a deletion that got no further is gone on with.
#[test]
fn a_deletion_that_was_cut_off_is_finished_by_the_next_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    fine(&log, vec![Commit { alarm: AlarmChange::SetTo(9), ..commit(1, 1, 1, "old") }]);
    log.deleted.add([7; 16]).expect("is marked");
    drop(log);
    let log = open(directory.path());
    assert!(log.alarms().lock().next_ms().is_none());
    assert!(matches!(log.object(key(1)), Err(OpenFileError::Deleted)));
    drop(log);
    assert_eq!(open(directory.path()).object(key(1)).expect("opens").header().expect("is read").seq, 0);
}

#[test]
fn objects_at_rest_come_in_pages_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = open(directory.path());
    let id = |first: u8, last: u8| {
        let mut id = [first; 32];
        id[31] = last;
        id
    };
    let keys: Vec<ObjectKey> = [(0, 0), (0, 9), (3, 1), (3, 2), (3, 3), (255, 255)]
        .map(|(a, b)| ObjectKey { namespace: [7; 16], id: id(a, b) })
        .into();
    let mut commits: Vec<Commit> = keys.iter().map(|key| Commit { key: *key, ..commit(0, 1, 2, "x") }).collect();
    commits[2].name = Some("third".to_owned());
    commits[2].alarm = AlarmChange::SetTo(5);
    fine(&log, commits.into_iter().rev().collect());
    // Reserved, as by a commit that never was: no object, and no end of the page.
    fs::write(log.files.path(&ObjectKey { namespace: [7; 16], id: id(3, 0) }), vec![0; 8192]).expect("is written");
    for limit in 1..=7 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = log.at_rest([7; 16], &Page { after, limit, ..Page::default() }).expect("is listed");
            assert!(page.len() == limit.min(keys.len() - seen.len()), "{limit}");
            let Some(last) = page.last() else { break };
            after = Some(last.key.id);
            seen.extend(page.iter().map(|object| object.key));
        }
        assert_eq!(seen, keys, "{limit}");
    }
    let third = log.at_rest([7; 16], &Page { prefix: hex::encode(id(3, 1)), limit: 9, ..Page::default() });
    let third = third.expect("is listed").remove(0);
    assert_eq!((third.name.as_deref(), third.alarm_at_ms, third.bytes), (Some("third"), Some(5), 8192));
    let page = Page { prefix: "0303".to_owned(), limit: 9, ..Page::default() };
    assert_eq!(log.at_rest([7; 16], &page).expect("is listed").len(), 3);
    assert!(log.at_rest([9; 16], &page).expect("none is none").is_empty());
}

/// As many files in a directory as a namespace of a million objects has in each of its 256.
#[test]
fn a_page_of_a_large_namespace_takes_a_look_at_one_directory() {
    const IN_ONE: usize = 1_000_000 / 256;
    let directory = tempfile::tempdir().expect("a directory");
    let files = Files::new(directory.path().to_owned(), 4, Default::default());
    let id = |first: u8, number: usize| {
        let mut id = [first; 32];
        id[1..9].copy_from_slice(&(number as u64).to_be_bytes());
        id
    };
    let of = |first, number| ObjectKey { namespace: [7; 16], id: id(first, number) };
    files.apply(&[Commit { key: of(0, 0), ..commit(0, 1, 1, "x") }]).expect("is applied");
    let one = fs::read(files.path(&of(0, 0))).expect("is read");
    for first in 0..3 {
        fs::create_dir_all(files.path(&of(first, 0)).parent().expect("has one")).expect("is made");
        for number in 0..IN_ONE {
            fs::write(files.path(&of(first, number)), &one[..PAGE_BYTES]).expect("is written");
        }
    }
    for (after, next) in [(None, of(0, 0)), (Some(id(0, 2000)), of(0, 2001)), (Some(id(1, IN_ONE - 1)), of(2, 0))] {
        let begun = std::time::Instant::now();
        let page = files.at_rest([7; 16], &Page { after, limit: 100, ..Page::default() }).expect("is listed");
        let took = begun.elapsed();
        println!("100 of {IN_ONE} in a directory: {took:?}");
        assert_eq!((page.len(), page[0].key), (100, next));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
