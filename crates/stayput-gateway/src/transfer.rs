//! One request sent, one answer passed on: both at once, within one task.
//!
//! Each direction reads only after what it read before has been written, so neither ever holds more than a buffer.

mod page;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::affinity::SetCookie;
use crate::answer::{self, Answer, Pinning};
use crate::body::{BadBody, Body};
use crate::buffer::{Buffer, Buffers, SMALL};
use crate::closing::Closing;
use crate::config::{Limits, Timeouts};
use crate::head::Scanner;
use crate::io;
use crate::links::Links;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::retry::RetryBudget;
use crate::upstream::Upstream;
use crate::waiting::Seat;
use crate::watch::{Clock, Watch};

/// Most interim answers (1xx) before the answer proper.
const MAX_INTERIM: usize = 16;

/// What both directions need and neither owns.
pub(crate) struct Transfer<'a> {
    pub(crate) request: &'a Request,
    pub(crate) set_cookie: Option<SetCookie<'a>>,
    /// What the answer's links are to carry.
    pub(crate) links: Option<Links<'a>>,
    /// The request's id, if the client is to know it.
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) closing: &'a Closing,
    pub(crate) limits: &'a Limits,
    pub(crate) timeouts: &'a Timeouts,
    pub(crate) buffers: &'a Buffers,
    pub(crate) watch: &'a Watch,
    pub(crate) clock: &'a Clock,
    pub(crate) progress: &'a Progress,
    pub(crate) upstream: &'a Upstream,
    /// What the upstream's count of falls was when it was chosen.
    pub(crate) falls: u64,
    pub(crate) seat: &'a Seat,
    pub(crate) silence: Option<Duration>,
    /// What pays for sending the request to another upstream, if it can be repeated.
    pub(crate) budget: Option<&'a RetryBudget>,
}

/// How far a transfer has come, for those who have to judge how it ended.
#[derive(Default)]
pub(crate) struct Progress {
    /// Bytes that the upstream may have seen.
    pub(crate) sent: Cell<u64>,
    /// Bytes that the client may have seen.
    pub(crate) answered: Cell<u64>,
    /// The status of the answer proper, once its first byte was about to leave.
    pub(crate) status: Cell<Option<u16>>,
    /// When its head was there.
    pub(crate) headed: Cell<Option<Instant>>,
    is_uploaded: Cell<bool>,
    waits_for_client: Cell<bool>,
    /// Whether the client may have half an interim answer, after which nothing else can be said.
    is_amid_interim: Cell<bool>,
    /// Whether the upstream broke off amid the answer proper.
    pub(crate) is_half: Cell<bool>,
}

/// How a transfer ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The answer is with the client.
    Delivered {
        /// Whether the connection to the upstream can carry another request.
        upstream_keeps: bool,
        /// Whether the client's can.
        client_keeps: bool,
    },
    /// The upstream broke the connection off, and the client has seen nothing yet.
    Broken,
    /// The upstream was taken out while the request waited, which the budget has paid for sending again.
    Deserted,
    /// The client has seen nothing of the answer proper, and gets this one instead.
    Refused(Refusal),
    /// The client is gone, or has half an answer.
    Aborted,
}

/// Where the bytes of one direction wait.
pub(crate) struct Upload<'a> {
    /// The rewritten head and what of the body came with it.
    pub(crate) head: &'a [u8],
    /// What the client sent beyond that.
    pub(crate) input: &'a mut Buffer,
    pub(crate) body: &'a mut Body,
}

impl Transfer<'_> {
    /// Sends the request and passes the answer on.
    pub(crate) async fn run(
        &self,
        client: &mut TcpStream,
        upstream: &mut TcpStream,
        upload: Upload<'_>,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Ended {
        let (client_read, client_write) = client.split();
        let (upstream_read, upstream_write) = upstream.split();
        let mut upload = pin!(self.upload(client_read, upstream_write, upload));
        let mut download = pin!(self.download(upstream_read, client_write, input, out));
        let mut is_uploading = true;
        let mut is_fresh = true;
        let mut overdue = None;
        let _rest = Resting(self.seat);
        self.watch.set_at(self.clock.last_read() + self.timeouts.body);
        poll_fn(|cx| {
            if is_uploading && let Poll::Ready(result) = upload.as_mut().poll(cx) {
                is_uploading = false;
                match result {
                    Ok(()) => self.progress.is_uploaded.set(true),
                    // The upstream takes no more, but may have answered early.
                    Err(Fault::Upstream) => {}
                    Err(Fault::Client(refusal)) => return Poll::Ready(self.refused_or_aborted(refusal)),
                }
                if self.progress.status.get().is_none() {
                    let now = if is_fresh { self.clock.last_read() } else { self.clock.read() };
                    self.watch.set_at(now + self.timeouts.answer);
                    self.seat.wait(now + self.silence.unwrap_or(self.timeouts.answer));
                }
            }
            if is_fresh {
                self.seat.listen(cx.waker());
            }
            is_fresh = false;
            if let Poll::Ready(ended) = download.as_mut().poll(cx) {
                return Poll::Ready(ended.unwrap_or_else(|ended| ended));
            }
            if self.progress.status.get().is_some() {
                // It has begun to answer; what it streams from now on may take its time.
                overdue = None;
            } else if self.seat.is_called() {
                if self.seat.is_overdue() {
                    overdue.get_or_insert_with(|| self.upstream.overdue());
                }
                if self.deserts() {
                    return Poll::Ready(Ended::Deserted);
                }
            }
            self.watch.poll_expired(cx).map(|_| self.refused_or_aborted(self.late()))
        })
        .await
    }

    /// Whether the request goes elsewhere: its upstream was taken out meanwhile, nothing has come of an answer, it can be
    /// repeated, and that is paid for.
    fn deserts(&self) -> bool {
        self.upstream.is_out()
            && self.upstream.falls() != self.falls
            && self.progress.answered.get() == 0
            && self.budget.is_some_and(RetryBudget::allows)
    }

    async fn upload(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        upload: Upload<'_>,
    ) -> Result<(), Fault> {
        let Upload { head, input, body } = upload;
        let sent = |n| {
            self.progress.sent.update(|sent| sent + n as u64);
        };
        io::write_all(&mut to, head, sent).await.map_err(|_| Fault::Upstream)?;
        while !body.is_complete() {
            if input.is_empty() {
                self.refill_from_client(&mut from, input, body).await?;
            }
            let n = body.accept(input.filled()).map_err(|bad| Fault::Client(bad.into()))?;
            let wrote = |n| {
                sent(n);
                self.moved_on();
            };
            io::write_all(&mut to, &input.filled()[..n], wrote).await.map_err(|_| Fault::Upstream)?;
            input.consume(n);
        }
        Ok(())
    }

    async fn refill_from_client(
        &self,
        from: &mut ReadHalf<'_>,
        input: &mut Buffer,
        body: &Body,
    ) -> Result<(), Fault> {
        if body.is_longer_than(SMALL) {
            self.buffers.enlarge(input);
        }
        self.buffers.lend(input);
        self.progress.waits_for_client.set(true);
        let read = io::read(from, input).await;
        self.progress.waits_for_client.set(false);
        self.moved_on();
        match read {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(Fault::Client(Refusal::BodyIncomplete)),
        }
    }

    /// Passes the answer on. The error is an end, too: that of a transfer which can't go on.
    async fn download(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<Ended, Ended> {
        let answer = self.answer_head(&mut from, &mut to, input, out).await?;
        let mut body = Body::new(answer.framing, None).map_err(|_| Ended::Aborted)?;
        if let Some(links) = self.links.filter(|_| answer.is_page) {
            // Seldom, and larger than all the rest: it has a place of its own.
            Box::pin(self.pass_page(links, &answer, &mut body, &mut from, &mut to, input, out)).await?;
            return Ok(self.delivered(&answer, &body, input));
        }
        let malformed = |_| self.refused_or_aborted(Refusal::AnswerMalformed);

        // What came of the body together with the head leaves together with it.
        let room = out.spare().min(input.filled().len());
        let (judged, data) = self.judge(&mut body, &mut input.filled_mut()[..room]).map_err(malformed)?;
        out.put(&input.filled()[..data]);
        input.consume(judged);
        self.progress.status.set(Some(answer.status));
        self.progress.headed.set(Some(self.clock.last_read()));
        self.watch.set_at(self.clock.last_read() + self.timeouts.body);
        self.send(&mut to, out.filled()).await?;

        while !body.is_complete() {
            if input.is_empty() && !self.refill_from_upstream(&mut from, input, &body).await? {
                break;
            }
            let (judged, data) = self.judge(&mut body, input.filled_mut()).map_err(malformed)?;
            self.send(&mut to, &input.filled()[..data]).await?;
            input.consume(judged);
        }
        Ok(self.delivered(&answer, &body, input))
    }

    fn delivered(&self, answer: &Answer, body: &Body, input: &Buffer) -> Ended {
        let is_whole = self.progress.is_uploaded.get() && body.is_complete() && input.is_empty();
        Ended::Delivered {
            upstream_keeps: is_whole && answer.upstream_keeps,
            client_keeps: answer.client_keeps,
        }
    }

    /// Reads heads, passes interim answers on, and leaves the head of the answer proper in `out`.
    async fn answer_head(
        &self,
        from: &mut ReadHalf<'_>,
        to: &mut WriteHalf<'_>,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<Answer, Ended> {
        for _ in 0..=MAX_INTERIM {
            let (answer, length) = self.read_head(from, input, out).await?;
            input.consume(length);
            if !answer.is_interim() {
                return Ok(answer);
            }
            // HTTP/1.0 knows no interim answers (RFC 9110, 15.2).
            if !self.request.is_1_0 {
                self.progress.is_amid_interim.set(true);
                self.send(to, out.filled()).await?;
                self.progress.is_amid_interim.set(false);
            }
            out.clear();
        }
        Err(Ended::Refused(Refusal::AnswerMalformed))
    }

    /// The next head, whose rewritten form is in `out` then, and its length.
    async fn read_head(
        &self,
        from: &mut ReadHalf<'_>,
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(Answer, usize), Ended> {
        let most = self.limits.head_bytes;
        let mut scanner = Scanner::default();
        let mut has_bytes = !input.is_empty();
        loop {
            if !std::mem::replace(&mut has_bytes, false) {
                self.hear(from, input).await?;
                self.buffers.lend(out);
            }
            let bytes = input.filled();
            // Nearly always the whole head is there at once.
            if scanner.is_fresh()
                && let Ok(read) = self.rewrite(&bytes[..bytes.len().min(most)], out)
            {
                return Ok(read);
            }
            let malformed = Ended::Refused(Refusal::AnswerMalformed);
            match scanner.scan(bytes) {
                Ok(Some(length)) if length <= most => {
                    return self.rewrite(&bytes[..length], out).map_err(|_| malformed);
                }
                Ok(None) if bytes.len() < most => {}
                _ => return Err(malformed),
            }
        }
    }

    /// Reads more of a head.
    async fn hear(&self, from: &mut ReadHalf<'_>, input: &mut Buffer) -> Result<(), Ended> {
        match io::read_lent(from, input, self.buffers).await {
            Ok(1..) => {
                self.upstream.heard(self.clock.read());
                Ok(())
            }
            Ok(0) | Err(_) if self.progress.answered.get() == 0 => Err(Ended::Broken),
            Ok(0) | Err(_) => Err(Ended::Refused(Refusal::UpstreamFailed)),
        }
    }

    /// Writes the head that `bytes` begin with as the client gets it.
    fn rewrite(&self, bytes: &[u8], out: &mut Buffer) -> Result<(Answer, usize), answer::Malformed> {
        let keep = self.request.keep_alive && self.progress.is_uploaded.get() && !self.closing.has_begun();
        let pinning = Pinning { cookie: self.set_cookie.as_ref(), links: self.links.as_ref(), id: self.id };
        answer::read(bytes, self.request, pinning, keep, out)
    }

    /// Whether there is more; an error if there should be.
    async fn refill_from_upstream(
        &self,
        from: &mut ReadHalf<'_>,
        input: &mut Buffer,
        body: &Body,
    ) -> Result<bool, Ended> {
        if body.is_longer_than(SMALL) {
            self.buffers.enlarge(input);
        }
        self.fill(from, input, body).await
    }

    async fn fill(&self, from: &mut ReadHalf<'_>, input: &mut Buffer, body: &Body) -> Result<bool, Ended> {
        let read = io::read(from, input).await;
        self.moved_on();
        match read {
            Ok(1..) => {
                self.upstream.heard(self.clock.last_read());
                Ok(true)
            }
            Ok(0) if body.ends_with_connection() => Ok(false),
            Ok(0) | Err(_) => {
                self.progress.is_half.set(true);
                Err(Ended::Aborted)
            }
        }
    }

    async fn send(&self, to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<(), Ended> {
        let mut is_first = true;
        let wrote = |n| {
            self.progress.answered.update(|answered| answered + n as u64);
            // A send that takes everything at once, as nearly all do, has no time to go late.
            if !std::mem::take(&mut is_first) || n < bytes.len() {
                self.moved_on();
            }
        };
        io::write_all(to, bytes, wrote).await.map_err(|_| Ended::Aborted)
    }

    /// Notes that a body made progress. That may have taken long, so the clock is read.
    fn moved_on(&self) {
        self.watch.set_at(self.clock.read() + self.timeouts.body);
    }

    /// How many bytes belong to the body, and how many of them, at the front, go to the client.
    fn judge(&self, body: &mut Body, bytes: &mut [u8]) -> Result<(usize, usize), BadBody> {
        if self.request.is_1_0 { body.accept_bare(bytes) } else { body.accept(bytes).map(|n| (n, n)) }
    }

    fn refused_or_aborted(&self, refusal: Refusal) -> Ended {
        let is_clean = self.progress.status.get().is_none() && !self.progress.is_amid_interim.get();
        if is_clean { Ended::Refused(refusal) } else { Ended::Aborted }
    }

    /// Who is to blame for a deadline that has passed.
    fn late(&self) -> Refusal {
        if self.progress.waits_for_client.get() { Refusal::BodyTooSlow } else { Refusal::AnswerTooLate }
    }
}

impl Progress {
    /// Whether the whole request has been read from the client and sent.
    pub(crate) fn is_uploaded(&self) -> bool {
        self.is_uploaded.get()
    }

    /// Whether it is the client that everybody waits for.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waits_for_client.get()
    }
}

/// Nobody is called once a transfer is over.
struct Resting<'a>(&'a Seat);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// Whose fault it is that a request can't be sent whole.
enum Fault {
    Upstream,
    Client(Refusal),
}

impl From<BadBody> for Refusal {
    fn from(bad: BadBody) -> Self {
        match bad {
            BadBody::Malformed => Self::BodyMalformed,
            BadBody::TooLarge => Self::BodyTooLarge,
        }
    }
}
