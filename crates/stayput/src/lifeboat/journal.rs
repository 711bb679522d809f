//! What was done while the store was out, on disk, so that the end of this process doesn't undo it.
//!
//! A file of lines, each sealed under the keyring. It only grows while the store is out, and is empty again when all of it has
//! reached the store. What can't be read is never thrown away: it is moved aside, and said.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use stayput_core::{Keyring, Random};
use tokio::sync::oneshot;

use super::entry::Entry;

/// Where writes and logouts are kept that were accepted while the store was out. One process has it at a time.
///
/// A logout is on the disk before it is acknowledged, and refused if it can't be; a write is with the operating system, and so survives
/// the process, but not the machine. A write that can't be put down is taken all the same, with an error in the log: it then ends with
/// the process.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    has_thread: bool,
}

/// A journal with what writes it.
pub(crate) struct Writer {
    jobs: Jobs,
    /// Bytes in the file, with those that are on their way into it.
    length: Arc<AtomicU64>,
}

/// To whom jobs are given.
enum Jobs {
    Thread(Queue),
    /// Each is done by who gives it.
    Caller(Mutex<Desk>),
}

/// The file, and who works on it.
struct Desk {
    file: File,
    length: Arc<AtomicU64>,
    /// Whether all that is in it has reached the store, and yet it could not be emptied. No new line is needed for another try: a full
    /// journal would take none.
    owes_clear: bool,
}

/// What waits for the thread. Of lines there may be so many; that the journal is to be emptied always has room, since what is left
/// in it would be replayed after a restart: once for all lines before it, so it is bounded by those.
struct Queue {
    jobs: Sender<Job>,
    lines: Arc<AtomicUsize>,
    /// Whether no line came since the journal was last to be emptied. Its lock keeps the order of jobs.
    is_emptied: Mutex<bool>,
}

enum Job {
    Append {
        line: Vec<u8>,
        is_synced: bool,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// All that is in it has reached the store.
    Clear,
}

impl Journal {
    /// Opens the journal, or begins one.
    ///
    /// # Errors
    ///
    /// The file can't be read and written, or another process has it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = private().read(true).append(true).create(true).open(&path)?;
        file.try_lock().map_err(|failed| match failed {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process has this journal")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path, file, has_thread: true })
    }

    /// Has each line written by the task that notes it: for simulations, in which nothing may depend on another thread's pace.
    #[doc(hidden)]
    pub fn without_thread(self) -> Self {
        Self { has_thread: false, ..self }
    }

    /// What is in it, and its writer.
    pub(crate) fn start(mut self, keyring: &Keyring) -> io::Result<(Vec<Entry>, Writer)> {
        let entries = self.read(keyring)?;
        let length = Arc::new(AtomicU64::new(self.file.metadata()?.len()));
        let mut desk = Desk { file: self.file, length: Arc::clone(&length), owes_clear: false };
        if !self.has_thread {
            return Ok((entries, Writer { jobs: Jobs::Caller(Mutex::new(desk)), length }));
        }
        let (jobs, waiting) = channel();
        let queue = Queue::new(jobs);
        let lines = Arc::clone(&queue.lines);
        thread::Builder::new().name("stayput-journal".to_owned()).spawn(move || {
            loop {
                let first = match desk.wait(&waiting) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let jobs = first.into_iter().chain(waiting.try_iter().take(QUEUE));
                desk.work(jobs.inspect(|job| note_taken(job, &lines)));
            }
        })?;
        Ok((entries, Writer { jobs: Jobs::Thread(queue), length }))
    }

    fn read(&mut self, keyring: &Keyring) -> io::Result<Vec<Entry>> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read: Vec<_> = lines.map(|line| open(line, keyring)).collect();
        let unread = read.iter().filter(|entry| entry.is_none()).count();
        if unread > 0 {
            let aside = self.path.with_added_extension("unread");
            // What is in it from another time is kept, too.
            private().append(true).create(true).open(&aside)?.write_all(&text)?;
            tracing::error!(
                lines = unread,
                kept = %aside.display(),
                "journal has lines that this keyring doesn't open: what they say is not replayed"
            );
        }
        // The last line may have been cut by the end of the process before: nobody was told that it was done.
        self.file.set_len(whole as u64)?;
        Ok(read.into_iter().flatten().collect())
    }
}

impl Writer {
    /// Appends an entry; done when it is written, or on the disk.
    pub(crate) fn append(
        &self,
        entry: &Entry,
        is_synced: bool,
        keyring: &Keyring,
        random: &dyn Random,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let sealed = keyring.seal(CONTEXT, &entry.encode(), random);
        let line = [data_encoding::BASE64.encode(&sealed).as_bytes(), b"\n"].concat();
        let len = line.len() as u64;
        let (done, answer) = oneshot::channel();
        let most = if matches!(entry, Entry::Written { .. }) { MOST_WRITTEN } else { MOST_BYTES };
        let sent = if self.length.fetch_add(len, Ordering::AcqRel) + len > most {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "journal is full"))
        } else {
            self.give(Job::Append { line, is_synced, done })
        };
        if sent.is_err() {
            self.length.fetch_sub(len, Ordering::AcqRel);
        }
        async move {
            sent?;
            answer.await.unwrap_or_else(|_| Err(io::Error::other("journal has ended")))
        }
    }

    /// Empties the journal: all of it has reached the store.
    pub(crate) fn clear(&self) {
        let _ = self.give(Job::Clear);
    }

    fn give(&self, job: Job) -> io::Result<()> {
        match &self.jobs {
            Jobs::Thread(queue) => queue.give(job),
            Jobs::Caller(desk) => {
                desk.lock().unwrap_or_else(PoisonError::into_inner).work(std::iter::once(job));
                Ok(())
            }
        }
    }
}

impl Queue {
    fn new(jobs: Sender<Job>) -> Self {
        Self { jobs, lines: Arc::default(), is_emptied: Mutex::new(false) }
    }

    fn give(&self, job: Job) -> io::Result<()> {
        let mut is_emptied = self.is_emptied.lock().unwrap_or_else(PoisonError::into_inner);
        let empties = matches!(job, Job::Clear);
        if empties && *is_emptied {
            return Ok(());
        }
        if let Job::Append { .. } = job
            && self.lines.fetch_add(1, Ordering::AcqRel) >= QUEUE
        {
            self.lines.fetch_sub(1, Ordering::AcqRel);
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "journal is too slow"));
        }
        *is_emptied = empties;
        self.jobs.send(job).map_err(|_| io::Error::other("journal has ended"))
    }
}

/// Notes that a job waits no longer.
fn note_taken(job: &Job, lines: &AtomicUsize) {
    if let Job::Append { .. } = job {
        lines.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Desk {
    /// The next job; if there is none for a while, that is the time to try again what is owed.
    fn wait(&self, waiting: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        if self.owes_clear {
            waiting.recv_timeout(TRY_AGAIN)
        } else {
            waiting.recv().map_err(|RecvError| RecvTimeoutError::Disconnected)
        }
    }

    /// Does jobs in their order, after what is owed; together they share one write, and one wait for the disk.
    fn work(&mut self, jobs: impl Iterator<Item = Job>) {
        if self.owes_clear {
            self.clear();
        }
        let (mut lines, mut is_synced, mut waiting) = (Vec::new(), false, Vec::new());
        for job in jobs {
            match job {
                Job::Append { line, is_synced: synced, done } => {
                    lines.extend_from_slice(&line);
                    is_synced |= synced;
                    waiting.push(done);
                }
                Job::Clear => {
                    answer(&mut waiting, &self.write(&lines, is_synced));
                    (lines, is_synced) = (Vec::new(), false);
                    self.clear();
                }
            }
        }
        answer(&mut waiting, &self.write(&lines, is_synced));
    }

    fn write(&mut self, lines: &[u8], is_synced: bool) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let file = &mut self.file;
        let before = file.metadata()?.len();
        let written = file.write_all(lines).and_then(|()| if is_synced { file.sync_data() } else { Ok(()) });
        if written.is_err() {
            // Half a line would spoil the next one.
            file.set_len(before)?;
            self.length.fetch_sub(lines.len() as u64, Ordering::AcqRel);
        } else {
            // From here on not all of it has reached the store. When it has, there is another job for that.
            self.owes_clear = false;
        }
        written
    }

    fn clear(&mut self) {
        let emptied = self.empty();
        if let Err(error) = &emptied
            && !self.owes_clear
        {
            tracing::error!(%error, "journal can't be emptied, and is tried again");
        }
        self.owes_clear = emptied.is_err();
    }

    fn empty(&self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        self.file.set_len(0)?;
        self.length.fetch_sub(len, Ordering::AcqRel);
        // Else a machine that crashes could do all of it once more.
        self.file.sync_data()
    }
}

fn answer(waiting: &mut Vec<oneshot::Sender<io::Result<()>>>, outcome: &io::Result<()>) {
    for done in waiting.drain(..) {
        let outcome = outcome.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()));
        // Who was given up doesn't listen.
        let _ = done.send(outcome.copied());
    }
}

/// For files that are nobody else's business.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn open(line: &[u8], keyring: &Keyring) -> Option<Entry> {
    let sealed = data_encoding::BASE64.decode(line).ok()?;
    Entry::decode(&keyring.open(CONTEXT, &sealed).ok()?)
}

const CONTEXT: &[u8] = b"stayput journal\0";

/// Most bytes of the file: what an outage of an hour would not fill.
const MOST_BYTES: u64 = 64 << 20;

/// Most bytes of it with which values are written: one client could fill it, and then nobody could log out any more.
const MOST_WRITTEN: u64 = MOST_BYTES / 2;

/// Most lines that wait to be written.
const QUEUE: usize = 1024;

/// Until a journal that could not be emptied is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use stayput_core::{StorageKey, SystemRandom};

    use super::*;
    use crate::lifeboat::Write;

    fn key(number: u8) -> StorageKey {
        StorageKey::from_bytes([number; StorageKey::LEN])
    }

    #[tokio::test]
    async fn what_was_appended_is_there_after_the_process_until_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let (path, keyring) = (dir.path().join("journal"), Keyring::generate(&SystemRandom));
        let (before, writer) = Journal::open(&path).unwrap().start(&keyring).unwrap();
        assert!(before.is_empty());
        for number in 0..3 {
            let entry = Entry::Ended { key: key(number) };
            writer.append(&entry, number == 1, &keyring, &SystemRandom).await.unwrap();
        }
        assert!(Journal::open(&path).is_err(), "another process has it");
        drop(writer);
        let (entries, writer) = reopened(&path, &keyring);
        assert_eq!(entries, [0, 1, 2].map(|number| Entry::Ended { key: key(number) }));
        writer.clear();
        writer.append(&Entry::Ended { key: key(9) }, true, &keyring, &SystemRandom).await.unwrap();
        drop(writer);
        assert_eq!(reopened(&path, &keyring).0, [Entry::Ended { key: key(9) }]);
    }

    #[tokio::test]
    async fn a_line_that_was_cut_is_dropped_and_one_that_is_not_ours_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (path, keyring) = (dir.path().join("journal"), Keyring::generate(&SystemRandom));
        let (_, writer) = Journal::open(&path).unwrap().start(&keyring).unwrap();
        let theirs = Keyring::generate(&SystemRandom);
        writer.append(&Entry::Ended { key: key(1) }, true, &theirs, &SystemRandom).await.unwrap();
        writer.append(&Entry::Ended { key: key(2) }, true, &keyring, &SystemRandom).await.unwrap();
        drop(writer);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"AAAA");
        std::fs::write(&path, &text).unwrap();
        assert_eq!(reopened(&path, &keyring).0, [Entry::Ended { key: key(2) }]);
        let aside = dir.path().join("journal.unread");
        assert_eq!(std::fs::read(&aside).unwrap(), text);
        std::fs::write(&path, b"BBBB\n").unwrap();
        drop(reopened(&path, &keyring));
        assert_eq!(std::fs::read(&aside).unwrap(), [&text[..], b"BBBB\n"].concat());
    }

    #[tokio::test]
    async fn a_full_journal_takes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (path, keyring) = (dir.path().join("journal"), Keyring::generate(&SystemRandom));
        let (_, writer) = Journal::open(&path).unwrap().start(&keyring).unwrap();
        writer.length.store(MOST_BYTES - 10, Ordering::Release);
        let entry = Entry::Ended { key: key(1) };
        for _ in 0..2 {
            let error = writer.append(&entry, true, &keyring, &SystemRandom).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn values_leave_room_for_logouts() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&SystemRandom);
        let (_, writer) = Journal::open(dir.path().join("journal")).unwrap().start(&keyring).unwrap();
        writer.length.store(MOST_WRITTEN, Ordering::Release);
        let write = Write { name: "n".to_owned(), before: None, after: None, origin: None, born_until: None };
        let written = Entry::Written { key: key(1), write };
        writer.append(&written, false, &keyring, &SystemRandom).await.unwrap_err();
        writer.append(&Entry::Ended { key: key(1) }, true, &keyring, &SystemRandom).await.unwrap();
    }

    #[tokio::test]
    async fn a_journal_that_is_too_slow_takes_no_more_lines_and_is_emptied_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::generate(&SystemRandom);
        // Nobody works on these yet.
        let (jobs, waiting) = channel();
        let queue = Queue::new(jobs);
        let lines = Arc::clone(&queue.lines);
        let writer = Writer { jobs: Jobs::Thread(queue), length: Arc::default() };
        let entry = Entry::Ended { key: key(1) };
        for _ in 0..QUEUE {
            drop(writer.append(&entry, false, &keyring, &SystemRandom));
        }
        let error = writer.append(&entry, false, &keyring, &SystemRandom).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        writer.clear();
        let file = private().read(true).append(true).create(true).open(dir.path().join("journal")).unwrap();
        let mut desk = Desk { file, length: Arc::clone(&writer.length), owes_clear: false };
        desk.work(waiting.try_iter().inspect(|job| note_taken(job, &lines)));
        assert_eq!((desk.file.metadata().unwrap().len(), lines.load(Ordering::Acquire)), (0, 0));
        assert_eq!(writer.length.load(Ordering::Acquire), 0);
    }

    /// What is taken though no line has room for it reaches the store, and is to be taken out of the journal, again and again.
    #[tokio::test]
    async fn while_the_disk_hangs_no_more_waits_than_there_is_room_for() {
        let keyring = Keyring::generate(&SystemRandom);
        let (jobs, waiting) = channel();
        let writer = Writer { jobs: Jobs::Thread(Queue::new(jobs)), length: Arc::default() };
        for _ in 0..3 * QUEUE {
            drop(writer.append(&Entry::Ended { key: key(1) }, false, &keyring, &SystemRandom));
            writer.clear();
        }
        let (mut lines, mut clears, mut is_last) = (0, 0, false);
        for job in waiting.try_iter() {
            is_last = matches!(job, Job::Clear);
            if is_last { clears += 1 } else { lines += 1 }
        }
        assert_eq!((lines, clears, is_last), (QUEUE, QUEUE, true));
        // Nothing came since, so there is nothing to be emptied.
        writer.clear();
        assert_eq!(waiting.try_iter().count(), 0);
    }

    #[tokio::test]
    async fn a_journal_that_can_not_be_emptied_is_tried_again_before_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let (path, length) = (dir.path().join("journal"), Arc::new(AtomicU64::new(MOST_BYTES)));
        let open = |writable| File::options().read(true).append(writable).open(&path).unwrap();
        std::fs::write(&path, b"what has reached the store\n").unwrap();
        let mut desk = Desk { file: open(false), length: Arc::clone(&length), owes_clear: false };
        // With nothing to write, since a full journal takes no line; and before a line, which is not to go with the others.
        desk.work(std::iter::once(Job::Clear));
        desk.work(std::iter::empty());
        assert_eq!((desk.owes_clear, length.load(Ordering::Acquire)), (true, MOST_BYTES));
        desk.file = open(true);
        desk.work(std::iter::empty());
        assert_eq!((desk.owes_clear, length.load(Ordering::Acquire)), (false, MOST_BYTES - 27));
        let line = || Job::Append { line: b"new\n".to_vec(), is_synced: true, done: oneshot::channel().0 };
        for text in ["old\n", "new\n"] {
            std::fs::write(&path, text).unwrap();
            desk.owes_clear = true;
            desk.work(std::iter::once(line()));
            assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
        }
        // Nobody says of the new line that it has reached the store.
        desk.work(std::iter::empty());
        assert_eq!(std::fs::read(&path).unwrap(), b"new\n");
    }

    /// Opens it again, when the thread of the writer before has let it go.
    fn reopened(path: &Path, keyring: &Keyring) -> (Vec<Entry>, Writer) {
        loop {
            match Journal::open(path) {
                Ok(journal) => return journal.start(keyring).unwrap(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ResourceBusy),
            }
            thread::yield_now();
        }
    }
}
