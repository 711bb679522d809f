//! Calls: how many there may be, how long each may take, and what went wrong.
//!
//! It makes no call twice, but for a script that the server had forgotten.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisResult, Value};
use stayput_core::{Operation, StoreError, StoreErrorKind};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use super::config::RedisConfig;
use super::connector::Connector;
use super::error_of;
use super::fault::{self, Fault};
use super::link::Link;
use super::replicas::{Replicas, TooFew};
use super::script::{Run, is_forgotten};

/// Makes calls to the server.
pub(super) struct Client {
    connector: Connector,
    /// For writes that a failover must not undo, if there is anything to wait for.
    replicas: Option<Replicas>,
    waits_for_writes: bool,
    timeout: Duration,
    permits: Semaphore,
}

impl Client {
    pub(super) async fn connect(config: RedisConfig) -> RedisResult<Self> {
        let (timeout, permits) =
            (config.timeout, Semaphore::new(config.in_flight.min(Semaphore::MAX_PERMITS)));
        let (waits_for_writes, mut replicas) = (config.waits_for_writes, None);
        if config.wait_replicas > 0 {
            replicas = Some(Replicas::connect(&config).await?);
        }
        Ok(Self { connector: Connector::start(config).await?, replicas, waits_for_writes, timeout, permits })
    }

    /// Begins a call, or says that there are too many.
    pub(super) fn begin(&self, operation: Operation) -> Result<Call<'_>, StoreError> {
        let overloaded = |_| {
            error_of(StoreErrorKind::Overloaded, operation)
                .with_source("as many calls as may be are under way")
        };
        let permit = self.permits.try_acquire().map_err(overloaded)?;
        let deadline = Instant::now() + self.timeout;
        Ok(Call {
            client: self,
            operation,
            deadline,
            has_begun: false,
            replicas: None,
            used: None,
            _permit: permit,
        })
    }

    /// Begins one that writes, and is ended by [`Call::confirm`]. It waits for replicas if it is vital that no failover undoes
    /// it, or if all writes do.
    pub(super) fn begin_write(&self, operation: Operation, is_vital: bool) -> Result<Call<'_>, StoreError> {
        let replicas = self.replicas.as_ref().filter(|_| is_vital || self.waits_for_writes);
        Ok(Call { replicas, ..self.begin(operation)? })
    }
}

/// One call of the store's, in as many round trips as it takes, with one deadline.
pub(super) struct Call<'a> {
    client: &'a Client,
    operation: Operation,
    deadline: Instant,
    /// Whether something was done that can be seen, so that no error may say that nothing was.
    has_begun: bool,
    /// Those that it waits for.
    replicas: Option<&'a Replicas>,
    /// The connection that it stays on if it does: of what another one did nothing could be confirmed on this.
    used: Option<Arc<Link>>,
    _permit: SemaphorePermit<'a>,
}

/// What a command does, if it is done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing that anybody could see.
    Nothing,
    /// Something: without its answer the outcome is unknown.
    Something,
}

impl Call<'_> {
    pub(super) async fn send(&mut self, command: &Cmd, effect: Effect) -> Result<Value, StoreError> {
        let link = self.link().await?;
        let answer = self.within(link.send(command), effect).await?;
        self.settle(&link, answer, effect)
    }

    /// Runs a script by its hash, or by its text if the server has forgotten it.
    pub(super) async fn run(&mut self, run: Run<'_>, effect: Effect) -> Result<Value, StoreError> {
        let link = self.link().await?;
        let mut answer = self.within(link.send(&run.by_hash()), effect).await?;
        if answer.as_ref().is_err_and(is_forgotten) {
            answer = self.within(link.send(&run.by_text()), effect).await?;
        }
        self.settle(&link, answer, effect)
    }

    /// Sends commands that do nothing that anybody could see, together.
    pub(super) async fn ask(&mut self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let mut answers = Vec::new();
        for commands in commands.chunks(TOGETHER) {
            let link = self.link().await?;
            let mut pipeline = Pipeline::new();
            for command in commands {
                pipeline.add_command(command.clone());
            }
            let several = self.within(link.send_all(&pipeline), Effect::Nothing).await?;
            for answer in self.settle(&link, several, Effect::Nothing)? {
                answers.push(self.settle(&link, answer, Effect::Nothing)?);
            }
        }
        Ok(answers)
    }

    /// Runs scripts that do something, together.
    pub(super) async fn run_all(&mut self, runs: &[Run<'_>]) -> Result<Vec<Value>, StoreError> {
        let mut answers = Vec::new();
        for runs in runs.chunks(TOGETHER) {
            let link = self.link().await?;
            let mut pipeline = Pipeline::new();
            for run in runs {
                pipeline.add_command(run.by_hash());
            }
            let several = self.within(link.send_all(&pipeline), Effect::Something).await?;
            for (answer, run) in self.settle(&link, several, Effect::Something)?.into_iter().zip(runs) {
                let answer = match answer {
                    Err(error) if is_forgotten(&error) => {
                        self.within(link.send(&run.by_text()), Effect::Something).await?
                    }
                    answer => answer,
                };
                answers.push(self.settle(&link, answer, Effect::Something)?);
            }
        }
        Ok(answers)
    }

    /// Ends a write: if it waits for replicas, returns when they have whatever its answers tell of, done by it or found done.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        let (Some(replicas), Some(link)) = (self.replicas, &self.used) else { return Ok(()) };
        let (wanted, unconfirmed) = (replicas.wanted, unanswered(Effect::Something));
        match self.within(replicas.confirm(Arc::clone(link)), Effect::Something).await? {
            Ok(found) if found >= wanted => Ok(()),
            Ok(found) => Err(self.error(unconfirmed).with_source(TooFew { found, wanted })),
            Err(error) => {
                let fault = fault::of(&error);
                if fault.is_lasting {
                    link.give_up();
                }
                let kind = if fault.is_answer { fault.kind } else { unconfirmed };
                Err(self.error(kind).with_source(fault::cause(error)))
            }
        }
    }

    /// An error of this call.
    pub(super) fn error(&self, kind: StoreErrorKind) -> StoreError {
        let kind = if self.has_begun { StoreErrorKind::OutcomeUnknown } else { kind };
        error_of(kind, self.operation)
    }

    /// How long it may take.
    pub(super) fn timeout(&self) -> Duration {
        self.client.timeout
    }

    async fn link(&mut self) -> Result<Arc<Link>, StoreError> {
        match &self.used {
            Some(link) if !link.is_over() => return Ok(Arc::clone(link)),
            Some(_) => {
                return Err(self.error(StoreErrorKind::Unavailable).with_source("its connection is lost"));
            }
            None => {}
        }
        let connector = self.replicas.map_or(&self.client.connector, |replicas| &replicas.connector);
        match timeout_at(self.deadline, connector.link()).await {
            Ok(Ok(link)) => {
                self.used = self.replicas.map(|_| Arc::clone(&link));
                Ok(link)
            }
            Ok(Err(error)) => {
                let Fault { kind, .. } = fault::of(&error);
                // Whatever it is: it was never asked.
                let kind = if kind == StoreErrorKind::Refused { kind } else { StoreErrorKind::Unavailable };
                Err(self.error(kind).with_source(fault::cause(error)))
            }
            Err(_) => Err(self.error(StoreErrorKind::Unavailable).with_source("there is no connection yet")),
        }
    }

    async fn within<T>(&self, answer: impl Future<Output = T>, effect: Effect) -> Result<T, StoreError> {
        let late = |_| self.error(unanswered(effect)).with_source(Late(self.client.timeout));
        timeout_at(self.deadline, answer).await.map_err(late)
    }

    fn settle<T>(&mut self, link: &Link, answer: RedisResult<T>, effect: Effect) -> Result<T, StoreError> {
        let error = match answer {
            Ok(answer) => {
                self.has_begun |= effect == Effect::Something;
                return Ok(answer);
            }
            Err(error) => error,
        };
        let fault = fault::of(&error);
        if fault.is_lasting {
            link.give_up();
        }
        let kind = if fault.is_answer { fault.kind } else { unanswered(effect) };
        Err(self.error(kind).with_source(fault::cause(error)))
    }
}

fn unanswered(effect: Effect) -> StoreErrorKind {
    match effect {
        Effect::Nothing => StoreErrorKind::Unavailable,
        Effect::Something => StoreErrorKind::OutcomeUnknown,
    }
}

/// There was no answer in time.
#[derive(Debug)]
struct Late(Duration);

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no answer within {:?}", self.0)
    }
}

impl std::error::Error for Late {}

/// How many commands are sent together: others' calls get their turn in between.
const TOGETHER: usize = 128;
