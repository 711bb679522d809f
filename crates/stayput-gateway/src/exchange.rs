//! One request of a client, from its rewritten head to the end of its answer: whom to ask, and what to do when they
//! fail.
//!
//! It never sends a request again that may have been acted on, unless doing it twice is doing it once.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use crate::access_log::Entry;
use crate::body::Body;
use crate::buffer::Buffer;
use crate::client::{After, Client};
use crate::config::RequestIds;
use crate::connect::{connect, is_ours};
use crate::pool::{Choice, Pool};
use crate::refusal::Refusal;
use crate::request::{self, Request};
use crate::request_id;
use crate::site::{LocalSite, LocalUpstream};
use crate::transfer::{Ended, Progress, Transfer, Upload};
use crate::upstream::{Asking, count};
use crate::worker::Worker;

/// How often one request may be sent, and how many upstreams it may fail to reach that don't refuse at once.
const MAX_SENT: usize = 4;
const MAX_UNREACHABLE: usize = 5;
/// After one upstream that was silent for as long as connecting may take, each other one gets so small a part of that: all together
/// no request waits for longer than twice the time.
const LATER_PART: u32 = 4;

/// A request on its way.
pub(crate) struct Exchange<'a> {
    worker: &'a Worker,
    site: &'a LocalSite,
    pool: &'a Pool,
    request: &'a Request,
    progress: Progress,
    /// Whether all of the request is in the buffer with its head, so that it can be sent again.
    is_kept: bool,
    /// The upstream that is being asked, or was last.
    upstream: Option<usize>,
    /// The one that the client's cookie names from now on: that one, unless it only stands in.
    home: Option<usize>,
    /// The generation of its addresses before it was connected to.
    addresses: u64,
    /// How often that one had fallen before it was connected to.
    falls: u64,
    retries: u32,
    /// Whether an upstream let this request wait for a connection in vain.
    has_waited: bool,
}

/// What to try next.
#[derive(Clone, Copy, Default)]
struct Plan {
    /// This one again, through a new connection.
    again: Option<usize>,
    /// Not this one.
    avoid: Option<usize>,
}

/// Why no connection came about.
enum Unconnected {
    /// The upstream can't be reached.
    Unreachable {
        /// It said so itself, at once.
        is_refused: bool,
    },
    /// This machine has run out of something, or can't connect to such an address; the upstream is not to blame.
    NotFromHere,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(worker: &'a Worker, site: &'a LocalSite, request: &'a Request) -> Self {
        Self {
            worker,
            site,
            pool: &site.shared.pools[request.pool],
            request,
            progress: Progress::default(),
            is_kept: false,
            upstream: None,
            home: None,
            addresses: 0,
            falls: 0,
            retries: 0,
            has_waited: false,
        }
    }

    /// Answers the request whose head for the upstream is in `head`.
    pub(crate) async fn run(mut self, client: &mut Client, head: &mut Buffer) -> After {
        let started = self.worker.clock.last_read();
        self.worker.budget.pay_in(&self.site.shared.limits);
        let ended = match self.take_body(client, head) {
            Ok(body) => self.ask(client, head.filled(), body).await,
            Err(refusal) => Ended::Refused(refusal),
        };
        let (status, after) = self.finish(client, head.filled(), ended).await;
        self.tally(started);
        if let Some(log) = &self.worker.log {
            log.record(&Entry {
                line: head.filled(),
                client: client.origin.address(),
                status,
                bytes: self.progress.answered.get(),
                started,
                pool: Some(Arc::clone(&self.pool.name)),
                upstream: self.upstream.map(|index| Arc::clone(&self.pool.upstreams[index].name)),
                retries: self.retries,
                id: self.id(RequestIds::Forward, head.filled()),
            });
        }
        after
    }

    /// The request's id, if the site says so: for the upstream at least, or for the client as well.
    fn id<'h>(&self, least: RequestIds, head: &'h [u8]) -> Option<&'h [u8]> {
        let has_it = self.site.shared.request_ids >= least;
        if has_it { request_id::in_head(head) } else { None }
    }

    /// Moves what has come of the body behind the head: the two leave together, and are there for another attempt.
    fn take_body(&self, client: &mut Client, head: &mut Buffer) -> Result<Body, Refusal> {
        let mut body =
            Body::new(self.request.framing, self.pool.body_bytes.or(self.site.shared.limits.body_bytes))?;
        let room = head.spare().min(client.input.filled().len());
        let n = body.accept(&client.input.filled()[..room])?;
        head.put(&client.input.filled()[..n]);
        client.input.consume(n);
        Ok(body)
    }

    async fn ask(&mut self, client: &mut Client, head: &[u8], mut body: Body) -> Ended {
        self.is_kept = body.is_complete();
        let mut plan = Plan::default();
        let (mut sent, mut unreachable, mut refused) = (0, 0, 0);
        while sent < MAX_SENT && unreachable < MAX_UNREACHABLE && refused < self.pool.upstreams.len() {
            let Some(index) = self.pick(plan) else { break };
            let upstream = &self.pool.upstreams[index];
            (self.addresses, self.falls) = (upstream.addresses.generation(), upstream.falls());
            let (mut stream, is_used) = match self.connection(index, plan.again.is_some()).await {
                Ok(connection) => connection,
                Err(Unconnected::Unreachable { is_refused }) => {
                    let down = self.site.shared.timeouts.down;
                    // A server that is just being started again refuses at once; asking it costs next to nothing. And one that
                    // had less time than the first may only be far away.
                    let down = if is_refused || self.has_waited { down / 10 } else { down };
                    self.pool.mark_down(index, self.worker.clock.read(), down);
                    self.has_waited |= !is_refused;
                    unreachable += usize::from(!is_refused);
                    refused += usize::from(is_refused);
                    plan = Plan::default();
                    continue;
                }
                // Another upstream may have an idle connection, or an address that suits this machine.
                Err(Unconnected::NotFromHere) => {
                    (unreachable, plan) = (unreachable + 1, Plan { again: None, avoid: Some(index) });
                    continue;
                }
            };
            // It was taken out while it was being connected to: nothing was sent, so anybody else may have the request.
            if upstream.is_out() && upstream.falls() != self.falls {
                (unreachable, plan) = (unreachable + 1, Plan::default());
                continue;
            }
            sent += 1;
            self.progress = Progress::default();
            let is_last = sent == MAX_SENT;
            let ended = self.send(client, index, &mut stream, head, &mut body, is_last).await;
            self.note(index, &ended, is_used);
            match ended {
                Ended::Deserted => {
                    self.worker.clock.read();
                    count(&upstream.counts.retries);
                    self.retries += 1;
                    plan = Plan { again: None, avoid: Some(index) };
                }
                Ended::Broken if self.may_send_again() => {
                    self.worker.clock.read();
                    count(&upstream.counts.retries);
                    self.retries += 1;
                    // A connection that was idle may simply have been closed meanwhile; one that was new was not.
                    plan = if is_used {
                        Plan { again: Some(index), avoid: None }
                    } else {
                        Plan { again: None, avoid: Some(index) }
                    };
                }
                Ended::Broken => return Ended::Refused(Refusal::UpstreamFailed),
                Ended::Delivered { upstream_keeps: true, .. } => {
                    let most = self.site.shared.limits.idle_connections;
                    self.local(index).put(stream, self.addresses, self.worker.clock.last_read(), most);
                    return ended;
                }
                _ => return ended,
            }
        }
        let refusal = if sent > 0 { Refusal::UpstreamFailed } else { Refusal::NoUpstream };
        Ended::Refused(refusal)
    }

    /// The upstream to ask: the one that is to be asked again, else the pool's choice.
    fn pick(&mut self, plan: Plan) -> Option<usize> {
        let route = &self.request.route;
        let asking = Asking {
            now: self.worker.clock.last_read(),
            down: self.site.shared.timeouts.down,
            is_repeatable: self.is_repeatable(),
            client: route.pin.map_or(0, |pin| pin.made),
            probes: !self.has_waited,
        };
        if plan.again.is_none_or(|index| !self.pool.admits(index, asking)) {
            let pick = |asking| self.pool.pick(route.whereto, plan.avoid, &self.worker.chance, asking);
            // One wait is enough: whoever is known to be up is better than one more who may be.
            let Choice { upstream, is_substitute } =
                pick(asking).or_else(|| pick(Asking { probes: true, ..asking }))?;
            let pinned = route.pin.filter(|_| is_substitute).map(|pin| pin.upstream);
            (self.upstream, self.home) = (Some(upstream), pinned.or(Some(upstream)));
        }
        self.upstream
    }

    /// Tells the pool what the upstream has done with the request.
    fn note(&self, index: usize, ended: &Ended, is_used: bool) {
        let is_gateway_error = || matches!(self.progress.status.get(), Some(502..=504));
        let why = match ended {
            Ended::Delivered { .. } if self.pool.health.gateway_errors && is_gateway_error() => {
                "it answered 502, 503 or 504"
            }
            Ended::Delivered { .. } => {
                return self.pool.answered(index, self.falls, self.worker.clock.last_read());
            }
            // A connection that was idle may have been closed for that.
            Ended::Broken if is_used => return,
            // It gave up on a client that is slow to send, who must not get servers ejected by that.
            Ended::Broken | Ended::Refused(Refusal::UpstreamFailed) if self.progress.waits_for_client() => {
                return;
            }
            Ended::Broken | Ended::Refused(Refusal::UpstreamFailed) => "it broke off before an answer",
            Ended::Aborted if self.progress.is_half.get() => "it broke off amid an answer",
            Ended::Refused(Refusal::AnswerMalformed) => "its answer was malformed",
            Ended::Refused(Refusal::AnswerTooLate) => "it did not answer in time",
            Ended::Deserted | Ended::Aborted | Ended::Refused(_) => return,
        };
        self.pool.failed(index, self.falls, why, self.worker.clock.read());
    }

    /// A connection to the upstream, and whether it has been used before.
    async fn connection(&self, index: usize, is_new: bool) -> Result<(TcpStream, bool), Unconnected> {
        let upstream = &self.pool.upstreams[index];
        // A probe has to find out whether the upstream can be reached, which a connection from before does not tell:
        // it would be used once a second, and the upstream stay down for good. One that was ejected is no better known.
        let timeouts = &self.site.shared.timeouts;
        if !is_new
            && !upstream.is_down()
            && !upstream.is_out()
            && let Some(stream) =
                self.local(index).take(self.worker.clock.last_read(), timeouts.upstream_idle)
        {
            return Ok((stream, true));
        }
        let limit = if self.has_waited { timeouts.connect / LATER_PART } else { timeouts.connect };
        match connect(&upstream.addresses, limit).await {
            Ok(stream) => {
                self.pool.mark_up(index, self.worker.clock.read());
                Ok((stream, false))
            }
            Err(error) if is_ours(&error) => {
                tracing::warn!(%error, upstream = %upstream.name, "no connection can be made from here");
                Err(Unconnected::NotFromHere)
            }
            Err(error) => {
                Err(Unconnected::Unreachable { is_refused: error.kind() == ErrorKind::ConnectionRefused })
            }
        }
    }

    async fn send(
        &self,
        client: &mut Client,
        index: usize,
        stream: &mut TcpStream,
        head: &[u8],
        body: &mut Body,
        is_last: bool,
    ) -> Ended {
        let (worker, site, upstream) = (self.worker, &self.site.shared, &*self.pool.upstreams[index]);
        let transfer = Transfer {
            request: self.request,
            set_cookie: self.pool.affinity.set_cookie(&self.request.route, self.home.unwrap_or(index)),
            links: self
                .pool
                .affinity
                .links(&self.request.route, self.home.unwrap_or(index), || request::host_in(head)),
            id: self.id(RequestIds::Return, head),
            closing: &worker.closing,
            limits: &site.limits,
            timeouts: &site.timeouts,
            buffers: &worker.buffers,
            watch: &client.watch,
            clock: &worker.clock,
            progress: &self.progress,
            upstream,
            falls: self.falls,
            seat: &client.seat,
            silence: self.pool.health.silence,
            budget: (self.is_repeatable() && !is_last).then_some(&worker.budget),
        };
        let _in_flight = self.pool.begin(index);
        // They get room when there is something to put into them.
        let (mut input, mut out) = (Buffer::default(), Buffer::default());
        let upload = Upload { head, input: &mut client.input, body };
        let ended = transfer.run(&mut client.stream, stream, upload, &mut input, &mut out).await;
        worker.buffers.give(input);
        worker.buffers.give(out);
        ended
    }

    /// Whether a request that broke off without an answer may be sent again.
    fn may_send_again(&self) -> bool {
        self.progress.sent.get() == 0 || self.is_repeatable() && self.worker.budget.allows()
    }

    /// Whether doing it twice is doing it once, and all of it is at hand.
    fn is_repeatable(&self) -> bool {
        self.request.method.is_idempotent() && self.is_kept
    }

    /// Tells the client what it has not been told, and what happens to its connection.
    async fn finish(&self, client: &mut Client, head: &[u8], ended: Ended) -> (u16, After) {
        match ended {
            Ended::Delivered { client_keeps, .. } => {
                self.count_pin();
                let status = self.progress.status.get().unwrap_or_default();
                let after = match client_keeps {
                    true => After::Next,
                    false if self.request.keep_alive || !self.is_read() || !client.input.is_empty() => {
                        After::Linger
                    }
                    false => After::Close,
                };
                (status, after)
            }
            Ended::Refused(refusal) => {
                let goes_on = self.request.keep_alive && !self.request.is_1_0 && self.is_read();
                let close = !goes_on || self.worker.closing.has_begun();
                let id = self.id(RequestIds::Return, head);
                let sent =
                    client.refuse(self.worker, refusal, close, self.request.method.is_head(), id).await;
                self.progress.answered.set(sent);
                // What led here may have taken long, and sending it, too.
                self.worker.clock.read();
                (refusal.status(), if close { After::Linger } else { After::Next })
            }
            Ended::Broken | Ended::Deserted | Ended::Aborted => {
                (self.progress.status.get().unwrap_or(CLIENT_GONE), After::Abort)
            }
        }
    }

    /// Counts what came of the upstream that was asked last.
    fn tally(&self, started: Instant) {
        let Some(index) = self.upstream else { return };
        let tally = &self.local(index).tally;
        match (self.progress.status.get(), self.progress.headed.get()) {
            (Some(status), Some(headed)) => tally.answered(status, headed.duration_since(started)),
            _ => tally.unanswered(),
        }
    }

    /// Notes that the client has been pinned to the upstream that answered, if it was not before.
    fn count_pin(&self) {
        let (Request { route, .. }, upstreams) = (self.request, &self.pool.upstreams);
        let before = route.pin.map(|pin| pin.upstream);
        if route.pins() && before != self.home {
            before.inspect(|&left| count(&upstreams[left].counts.remaps));
            self.home.inspect(|&now| count(&upstreams[now].counts.pins));
        }
    }

    /// What this worker keeps of an upstream.
    fn local(&self, index: usize) -> &LocalUpstream {
        self.site.upstream(self.request.pool, index)
    }

    /// Whether nothing of the request is left to be read.
    fn is_read(&self) -> bool {
        self.is_kept || self.progress.is_uploaded()
    }
}

/// What nginx logs for it, too.
const CLIENT_GONE: u16 = 499;
