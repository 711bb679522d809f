//! The one thread that writes: it takes what has queued up, runs it in one transaction, and answers after the commit.
//!
//! One sync to disk thus serves up to 64 writers. Nothing is answered before it is committed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use stayput_core::{Operation, StoreError, StoreErrorKind};
use tokio::sync::{mpsc, oneshot};

use super::statements::Fault;
use super::{error_of, schema};

/// What a write must survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Durability {
    /// The death of this process.
    Process,
    /// A power cut.
    Disk,
}

pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn spawn(db: Connection) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        thread::Builder::new().name("stayput-sqlite".to_owned()).spawn(move || run(db, jobs))?;
        Ok(Self { queue })
    }

    /// Queues `statement`, or says at once that the queue is full.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        operation: Operation,
        durability: Durability,
        statement: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<Answer<T>, StoreError> {
        let (reply, receiver) = oneshot::channel();
        let write = Write { operation, durability, statement: Some(statement), outcome: None, reply };
        self.queue.try_send(Box::new(write)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => error_of(StoreErrorKind::Overloaded, operation),
            mpsc::error::TrySendError::Closed(_) => error_of(StoreErrorKind::Unavailable, operation),
        })?;
        Ok(Answer { operation, receiver })
    }
}

/// A queued write's outcome to come.
pub(super) struct Answer<T> {
    operation: Operation,
    receiver: oneshot::Receiver<Result<T, StoreError>>,
}

impl<T> Answer<T> {
    pub(super) async fn wait(self) -> Result<T, StoreError> {
        let lost = |_| Err(error_of(StoreErrorKind::OutcomeUnknown, self.operation));
        self.receiver.await.unwrap_or_else(lost)
    }
}

/// How a transaction ended that was not committed.
struct Failure {
    kind: StoreErrorKind,
    cause: String,
}

impl Failure {
    fn rolled_back(error: &rusqlite::Error) -> Self {
        let kind =
            if schema::is_busy(error) { StoreErrorKind::Overloaded } else { StoreErrorKind::Unavailable };
        Self { kind, cause: error.to_string() }
    }

    fn panicked() -> Self {
        Self { kind: StoreErrorKind::Unavailable, cause: "a statement panicked".to_owned() }
    }
}

trait Job: Send {
    fn durability(&self) -> Durability;

    /// Runs the statement and keeps its outcome. An error means that the transaction is lost.
    fn run(&mut self, db: &Connection) -> rusqlite::Result<()>;

    /// Answers who waits, after the transaction has ended.
    fn answer(self: Box<Self>, ended: &Result<(), Failure>);
}

struct Write<T, F> {
    operation: Operation,
    durability: Durability,
    statement: Option<F>,
    outcome: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn run(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let Some(statement) = self.statement.take() else { return Ok(()) };
        match statement(db) {
            Err(Fault::Sql(error)) => Err(error),
            outcome => {
                self.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    fn answer(self: Box<Self>, ended: &Result<(), Failure>) {
        let operation = self.operation;
        let answer = match (ended, self.outcome) {
            (Ok(()), Some(outcome)) => outcome.map_err(|fault| fault.into_error(operation)),
            (Ok(()), None) => Err(error_of(StoreErrorKind::Unavailable, operation)),
            (Err(Failure { kind, cause }), _) => Err(error_of(*kind, operation).with_source(cause.clone())),
        };
        // Who cancelled their request no longer listens; the write stands, as the contract says.
        let _ = self.reply.send(answer);
    }
}

fn run(mut db: Connection, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut turn = Turn::begin();
    while let Some(first) = jobs.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        // A panic rolls back, and ends neither this thread nor all writing with it.
        let ended = catch_unwind(AssertUnwindSafe(|| commit(&mut db, &mut batch)));
        let ended = ended.unwrap_or_else(|_| Err(Failure::panicked()));
        if let Err(Failure { cause, .. }) = &ended {
            tracing::error!(writes = batch.len(), cause, "SQLite did not commit");
        }
        for job in batch.drain(..) {
            job.answer(&ended);
        }
        turn.end_if_due(jobs.is_empty());
    }
}

fn commit(db: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    let rolled_back = |error| Failure::rolled_back(&error);
    let durability = batch.iter().map(|job| job.durability()).max().unwrap_or(Durability::Disk);
    let synchronous = match durability {
        Durability::Process => "NORMAL",
        Durability::Disk => "FULL",
    };
    db.pragma_update(None, "synchronous", synchronous).map_err(rolled_back)?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(rolled_back)?;
    for job in batch {
        // Dropping the transaction rolls it back.
        job.run(&transaction).map_err(rolled_back)?;
    }
    let unknown =
        |error: rusqlite::Error| Failure { kind: StoreErrorKind::OutcomeUnknown, cause: error.to_string() };
    transaction.commit().map_err(unknown)
}

/// SQLite's write lock has no queue: a process that takes it again microseconds after it let go starves the others,
/// who look once a millisecond. So a writer that had no pause of its own for a while makes one.
struct Turn {
    since: Instant,
}

impl Turn {
    fn begin() -> Self {
        Self { since: Instant::now() }
    }

    fn end_if_due(&mut self, queue_is_empty: bool) {
        if queue_is_empty {
            *self = Self::begin();
        } else if self.since.elapsed() >= LONGEST_TURN {
            thread::sleep(PAUSE);
            *self = Self::begin();
        }
    }
}

/// Most writes in one transaction.
const BATCH: usize = 64;

/// Most writes that wait; more are refused as overload.
const QUEUE: usize = 4096;

const LONGEST_TURN: Duration = Duration::from_millis(25);
const PAUSE: Duration = Duration::from_millis(2);
