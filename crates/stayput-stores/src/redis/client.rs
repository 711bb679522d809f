//! Calls: how many there may be, how long each may take, and what went wrong.
//!
//! It makes no call twice, but for a script that the server had forgotten, and what a cluster's node had certainly not done.

mod nodes;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::{Cmd, RedisError, RedisResult, Value};
use stayput_core::{Operation, StoreError, StoreErrorKind};
use tokio::time::{Instant, sleep, timeout_at};

use self::nodes::Nodes;
use super::cluster::{Slot, Way};
use super::config::{Address, RedisConfig};
use super::error_of;
use super::fault::{self, Fault};
use super::keys::Keys;
use super::link::{Late, Link};
use super::message::{Message, Name};
use super::replicas::{Replicas, TooFew};
use super::room::{Room, Seat};
use super::script::{Run, is_forgotten};
use super::servers::{NoStop, Servers, Stop};
use super::together::together;

/// Makes calls to the server.
pub(super) struct Client {
    servers: Servers,
    /// For writes that a failover must not undo, if there is anything to wait for.
    replicas: Option<Replicas>,
    /// What they are confirmed on. A cluster's nodes have their own replicas.
    barrier: Vec<u8>,
    nodes_wait: bool,
    waits_for_writes: bool,
    timeout: Duration,
    room: Room,
}

impl Client {
    pub(super) async fn connect(config: RedisConfig) -> RedisResult<Self> {
        let (timeout, room) = (config.timeout, Room::for_calls(config.in_flight));
        let (waits_for_writes, mut replicas) = (config.waits_for_writes, None);
        let barrier = Keys::new(config.prefix.clone()).barrier();
        let nodes_wait = config.wait_replicas > 0 && matches!(config.address, Address::Cluster(_));
        if config.wait_replicas > 0 && !nodes_wait {
            replicas = Some(Replicas::connect(&config).await?);
        }
        let servers = Servers::connect(config).await?;
        Ok(Self { servers, replicas, barrier, nodes_wait, waits_for_writes, timeout, room })
    }

    /// Within what time each call ends.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What calls go to.
    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// Begins a call, or says that there are too many.
    pub(super) fn begin(&self, operation: Operation) -> Result<Call<'_>, StoreError> {
        let overloaded = || {
            error_of(StoreErrorKind::Overloaded, operation)
                .with_source("as many calls as may be are under way")
        };
        let seat = self.room.enter().ok_or_else(overloaded)?;
        let began = Instant::now();
        Ok(Call {
            client: self,
            operation,
            began: Some(began),
            deadline: began + self.timeout,
            has_begun: false,
            replicas: None,
            used: OnceLock::new(),
            nodes: None,
            _seat: seat,
        })
    }

    /// Begins one that writes, and is ended by [`Call::confirm`]. It waits for replicas if it is vital that no failover undoes
    /// it, or if all writes do.
    pub(super) fn begin_write(&self, operation: Operation, is_vital: bool) -> Result<Call<'_>, StoreError> {
        let waits = is_vital || self.waits_for_writes;
        let replicas = self.replicas.as_ref().filter(|_| waits);
        let nodes = (waits && self.nodes_wait).then(Nodes::default);
        Ok(Call { replicas, nodes, ..self.begin(operation)? })
    }
}

/// One call of the store's, in as many round trips as it takes, with one deadline.
pub(super) struct Call<'a> {
    client: &'a Client,
    operation: Operation,
    /// When it began, until its first message is on its way.
    began: Option<Instant>,
    deadline: Instant,
    /// Whether something was done that can be seen, so that no error may say that nothing was.
    has_begun: bool,
    /// Those that it waits for.
    replicas: Option<&'a Replicas>,
    /// The connection that it stays on if it does: of what another one did nothing could be confirmed on this.
    used: OnceLock<Arc<Link>>,
    /// The same in a cluster, where it may be several.
    nodes: Option<Nodes>,
    _seat: Seat<'a>,
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
        self.deliver(Message::Command(command), None, effect).await
    }

    /// Reads what is under a key.
    pub(super) async fn get(&mut self, name: Name<'_>) -> Result<Value, StoreError> {
        self.deliver(Message::Get(name), None, Effect::Nothing).await
    }

    /// Runs a script by its hash, or by its text if the server has forgotten it.
    pub(super) async fn run(&mut self, run: Run<'_>, effect: Effect) -> Result<Value, StoreError> {
        self.deliver(Message::Run(run), None, effect).await
    }

    /// Sends commands that do nothing that anybody could see, together. One without a key goes where the first key is.
    pub(super) async fn ask(&mut self, commands: Vec<Cmd>) -> Result<Vec<Value>, StoreError> {
        let messages: Vec<_> = commands.iter().map(Message::Command).collect();
        self.deliver_all(&messages, Effect::Nothing).await
    }

    /// Runs scripts that do something, together.
    pub(super) async fn run_all(&mut self, runs: &[Run<'_>]) -> Result<Vec<Value>, StoreError> {
        let messages: Vec<_> = runs.iter().map(|run| Message::Run(*run)).collect();
        self.deliver_all(&messages, Effect::Something).await
    }

    /// Sends a message to who is to carry it out, and on from there for as long as that one says that another is: to the node of
    /// `slot`, or else of its own key.
    async fn deliver(
        &mut self,
        mut message: Message<'_>,
        slot: Option<Slot>,
        effect: Effect,
    ) -> Result<Value, StoreError> {
        let mut way = Way::to(slot.or_else(|| self.client.servers.slot(&message)));
        let mut at_once = self.began.take();
        loop {
            // What rarely happens is boxed, or every call's future had room for it.
            let (stop, since) = match self.stop_now(&way) {
                Some(stop) => (stop, at_once.take().unwrap_or_else(Instant::now)),
                None => (Box::pin(self.stop(&way)).await?, Instant::now()),
            };
            at_once = None;
            let answer = stop.send(message, self.deadline, since).await;
            let error = match answer.map_err(|Late| self.late(effect))? {
                Err(error) => error,
                answer => return self.settle(&stop.link, answer, effect),
            };
            if let (true, Message::Run(run)) = (is_forgotten(&error), message) {
                message = Message::Tell(run);
            } else if let Some(pause) = self.client.servers.turn(&mut way, &error, &stop) {
                drop(stop);
                if Instant::now() + pause >= self.deadline {
                    let cause = fault::cause_on_the_way(error);
                    return Err(self.error(StoreErrorKind::Unavailable).with_source(cause));
                }
                Box::pin(sleep(pause)).await;
            } else {
                return self.settle(&stop.link, Err(error), effect);
            }
        }
    }

    async fn deliver_all(
        &mut self,
        messages: &[Message<'_>],
        effect: Effect,
    ) -> Result<Vec<Value>, StoreError> {
        let mut values = Vec::with_capacity(messages.len());
        for messages in messages.chunks(TOGETHER) {
            let slots = self.slots(messages);
            let groups = self.client.servers.groups(&slots);
            // What one node does is done, whatever becomes of another's.
            self.has_begun |= effect == Effect::Something && groups.len() > 1;
            let sent = together(groups.iter().map(|group| self.send_group(group, messages, &slots, effect)));
            let mut answers = vec![None; messages.len()];
            for (group, outcome) in groups.iter().zip(sent.await) {
                let (stop, several) = outcome?;
                for (number, answer) in group.iter().zip(self.settle(&stop.link, several, effect)?) {
                    if !answer.as_ref().is_err_and(|error| self.is_undone(error, slots[*number], &stop)) {
                        answers[*number] = Some(self.settle(&stop.link, answer, effect)?);
                    }
                }
            }
            for ((message, slot), answer) in messages.iter().zip(slots).zip(answers) {
                values.push(match answer {
                    Some(answer) => answer,
                    None => self.deliver(*message, slot, effect).await?,
                });
            }
        }
        Ok(values)
    }

    /// The slots of messages that belong together; one without a key has that of the first with one.
    fn slots(&self, messages: &[Message<'_>]) -> Vec<Option<Slot>> {
        if !self.client.servers.is_cluster() {
            return vec![None; messages.len()];
        }
        let slots: Vec<_> = messages.iter().map(|message| self.client.servers.slot(message)).collect();
        let first = slots.iter().find_map(|slot| *slot);
        slots.into_iter().map(|slot| slot.or(first)).collect()
    }

    async fn send_group(
        &self,
        group: &[usize],
        messages: &[Message<'_>],
        slots: &[Option<Slot>],
        effect: Effect,
    ) -> Result<(Stop, RedisResult<Vec<RedisResult<Value>>>), StoreError> {
        let stop = self.stop(&Way::to(slots[group[0]])).await?;
        let messages = group.iter().map(|number| messages[*number]);
        let answers = self.within(stop.link.send_all(messages), effect).await?;
        Ok((stop, answers))
    }

    /// Whether nothing was done, and a delivery by itself will see to it.
    fn is_undone(&self, error: &RedisError, slot: Option<Slot>, stop: &Stop) -> bool {
        is_forgotten(error) || self.client.servers.turn(&mut Way::to(slot), error, stop).is_some()
    }

    /// Ends a write: if it waits for replicas, returns when they have whatever its answers tell of, done by it or found done.
    pub(super) async fn confirm(&self) -> Result<(), StoreError> {
        if let Some(nodes) = &self.nodes {
            return self.confirm_on(nodes).await;
        }
        let (Some(replicas), Some(link)) = (self.replicas, self.used.get()) else { return Ok(()) };
        let confirmation = replicas.confirm(Arc::clone(link), self.client.barrier.clone());
        let found = self.within(confirmation, Effect::Something).await?;
        self.judge(replicas.wanted, link, found)
    }

    /// What it means that so many replicas have what was done on this connection.
    fn judge(&self, wanted: u32, link: &Link, found: RedisResult<u32>) -> Result<(), StoreError> {
        let unconfirmed = unanswered(Effect::Something);
        match found {
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

    /// The next stop, if there is no need to wait for it.
    fn stop_now(&self, way: &Way) -> Option<Stop> {
        let is_bound = self.replicas.is_some() || self.nodes.is_some();
        if is_bound { None } else { self.client.servers.stop_now(way) }
    }

    async fn stop(&self, way: &Way) -> Result<Stop, StoreError> {
        if let Some(replicas) = self.replicas {
            return self.replicated(replicas).await.map(Stop::at);
        }
        match timeout_at(self.deadline, self.next_stop(way)).await {
            Ok(Ok(stop)) => self.stay(stop),
            Ok(Err(NoStop::Unconnected(error))) => {
                self.client.servers.doubt();
                Err(self.unconnected(error))
            }
            Ok(Err(NoStop::Crowded)) => {
                let cause = "as many calls as one node may have are under way to it";
                Err(self.error(StoreErrorKind::Overloaded).with_source(cause))
            }
            Err(_) => {
                self.client.servers.doubt();
                Err(self.not_yet_connected())
            }
        }
    }

    /// The connection that it stays on.
    async fn replicated(&self, replicas: &Replicas) -> Result<Arc<Link>, StoreError> {
        match self.used.get() {
            Some(link) if !link.is_over() => return Ok(Arc::clone(link)),
            Some(_) => {
                return Err(self.error(StoreErrorKind::Unavailable).with_source("its connection is lost"));
            }
            None => {}
        }
        let link = timeout_at(self.deadline, replicas.connector.link()).await;
        let link = link.map_err(|_| self.not_yet_connected())?.map_err(|error| self.unconnected(error))?;
        Ok(Arc::clone(self.used.get_or_init(|| link)))
    }

    /// Whatever it is: it was never asked.
    fn unconnected(&self, error: RedisError) -> StoreError {
        let Fault { kind, .. } = fault::of(&error);
        let kind = if kind == StoreErrorKind::Refused { kind } else { StoreErrorKind::Unavailable };
        self.error(kind).with_source(fault::cause(error))
    }

    fn not_yet_connected(&self) -> StoreError {
        self.error(StoreErrorKind::Unavailable).with_source("there is no connection yet")
    }

    async fn within<T>(&self, answer: impl Future<Output = T>, effect: Effect) -> Result<T, StoreError> {
        timeout_at(self.deadline, answer).await.map_err(|_| self.late(effect))
    }

    fn late(&self, effect: Effect) -> StoreError {
        self.client.servers.doubt();
        self.error(unanswered(effect)).with_source(Unanswered(self.client.timeout))
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
            self.client.servers.doubt();
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
struct Unanswered(Duration);

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no answer within {:?}", self.0)
    }
}

impl std::error::Error for Unanswered {}

/// How many commands are sent together: others' calls get their turn in between.
const TOGETHER: usize = 128;
