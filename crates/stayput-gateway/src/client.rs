//! A client's connection: one request after the other, and a proper end.
//!
//! It holds no buffer while it is idle.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::access_log::Entry;
use crate::buffer::Buffer;
use crate::closing::Place;
use crate::exchange::Exchange;
use crate::head::Scanner;
use crate::io;
use crate::origin::Origin;
use crate::refusal::Refusal;
use crate::request::{self, Request};
use crate::site::{LocalSite, Site};
use crate::waiting::Seat;
use crate::watch::Watch;
use crate::worker::Worker;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What the client has sent and nobody has used yet.
    pub(crate) input: Buffer,
    pub(crate) watch: Watch,
    pub(crate) origin: Origin,
    pub(crate) seat: Rc<Seat>,
}

/// What becomes of a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The next request.
    Next,
    /// The client has asked for the end.
    Close,
    /// The gateway ends it, and the client may still be sending.
    Linger,
    /// The client must notice that its answer is not whole.
    Abort,
}

/// Why there is no next request.
enum NoRequest {
    /// The client left, or did not come back in time.
    Over,
    Refused(Refusal),
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, place: Place, stream: TcpStream, address: IpAddr) {
    let site = worker.site();
    let (mut generation, mut wait) = (site.generation, site.shared.timeouts.head);
    let mut client = Client::new(stream, address, &site.shared, &worker);
    // While it waits it keeps no site, or every one that ever was would stay for those who say nothing.
    drop(site);
    worker.clock.read();
    while client.is_coming(&worker, &place, wait).await {
        let site = worker.site();
        if std::mem::replace(&mut generation, site.generation) != site.generation {
            client.origin = client.origin.seen_by(&site.shared.trusted_proxies, site.shared.behind_tls);
        }
        let mut head = worker.buffers.take();
        let after = match client.next_request(&worker, &site, &mut head).await {
            Ok(request) => Exchange::new(&worker, &site, &request).run(&mut client, &mut head).await,
            Err(NoRequest::Over) => After::Close,
            Err(NoRequest::Refused(refusal)) => client.turn_away(&worker, refusal).await,
        };
        worker.buffers.give(head);
        match after {
            After::Next => wait = site.shared.timeouts.keep_alive,
            After::Close => break,
            After::Linger => {
                client.linger(&worker).await;
                break;
            }
            After::Abort => {
                io::abort(&client.stream);
                break;
            }
        }
    }
    worker.buffers.give(client.input);
}

/// Tells a client that there is no room for it.
pub(crate) async fn shed(worker: Rc<Worker>, stream: TcpStream, address: IpAddr) {
    let mut client = Client::new(stream, address, &worker.site().shared, &worker);
    client.turn_away(&worker, Refusal::Overloaded).await;
    client.linger(&worker).await;
    worker.buffers.give(client.input);
}

impl Client {
    fn new(stream: TcpStream, address: IpAddr, site: &Site, worker: &Worker) -> Self {
        let origin = Origin::new(address, &site.trusted_proxies, site.behind_tls);
        let (watch, seat) = (Watch::new(site.timeouts.head), worker.waiting.seat());
        Self { stream, origin, input: Buffer::default(), watch, seat }
    }

    /// Waits, without a buffer, until something comes, and reads it. False if nothing does.
    async fn is_coming(&mut self, worker: &Worker, place: &Place, limit: Duration) -> bool {
        if !self.input.is_empty() {
            return true;
        }
        worker.buffers.give_if_empty(&mut self.input);
        self.watch.set_at(worker.clock.last_read() + limit);
        let is_coming = poll_fn(|cx| {
            if let Poll::Ready(has_come) = self.poll_arrival(worker, cx) {
                return Poll::Ready(has_come);
            }
            if place.poll_closing(cx).is_ready() {
                return Poll::Ready(io::has_unread(&self.stream));
            }
            self.watch.poll_expired(cx).map(|_| false)
        })
        .await;
        if is_coming {
            worker.buffers.lend(&mut self.input);
        }
        is_coming
    }

    /// Reads what has come; false at the end.
    fn poll_arrival(&mut self, worker: &Worker, cx: &mut Context<'_>) -> Poll<bool> {
        let read = io::poll_read_lent(&mut self.stream, &mut self.input, &worker.buffers, cx);
        let has_come = !self.input.is_empty();
        if has_come {
            worker.clock.read();
        }
        read.map(|_| has_come)
    }

    /// Reads a whole head; leaves the one for the upstream in `out`.
    async fn next_request(
        &mut self,
        worker: &Worker,
        site: &LocalSite,
        out: &mut Buffer,
    ) -> Result<Request, NoRequest> {
        let most = site.shared.limits.head_bytes;
        let mut scanner = Scanner::default();
        let mut is_waiting = false;
        loop {
            skip_empty_lines(&mut scanner, &mut self.input);
            // Nearly always the whole head is there at once.
            if scanner.is_fresh()
                && let Some(read) = self.read_first(worker, site, most, out)
            {
                return read;
            }
            let bytes = self.input.filled();
            match scanner.scan(bytes) {
                Err(_) => return Err(NoRequest::Refused(Refusal::LineBreak)),
                Ok(Some(length)) if length <= most => return self.read_request(worker, site, length, out),
                Ok(None) if bytes.len() < most => {}
                Ok(_) if !bytes[..most].contains(&b'\n') => {
                    return Err(NoRequest::Refused(Refusal::TargetTooLong));
                }
                Ok(_) => return Err(NoRequest::Refused(Refusal::HeadTooLarge)),
            }
            if !std::mem::replace(&mut is_waiting, true) {
                self.watch.set(site.shared.timeouts.head);
            }
            self.read_more().await?;
            worker.clock.read();
        }
    }

    /// Reads the head that has come; nothing if it isn't whole, is too large or can't be read.
    fn read_first(
        &mut self,
        worker: &Worker,
        site: &LocalSite,
        most: usize,
        out: &mut Buffer,
    ) -> Option<Result<Request, NoRequest>> {
        let (host, bytes) = (worker.shared.host.as_bytes(), self.input.filled());
        let bytes = &bytes[..bytes.len().min(most)];
        let read = request::read_first(bytes, &site.shared, host, &mut self.origin, out)?;
        Some(
            read.map_err(NoRequest::Refused).map(|(request, length)| self.take(worker, request, length, out)),
        )
    }

    /// Reads the head of that length.
    fn read_request(
        &mut self,
        worker: &Worker,
        site: &LocalSite,
        length: usize,
        out: &mut Buffer,
    ) -> Result<Request, NoRequest> {
        let host = worker.shared.host.as_bytes();
        let request =
            request::read(&self.input.filled()[..length], &site.shared, host, &mut self.origin, out)
                .map_err(NoRequest::Refused)?;
        Ok(self.take(worker, request, length, out))
    }

    /// Takes a head that was read off what has come, and completes the one for the upstream.
    fn take(&mut self, worker: &Worker, request: Request, length: usize, out: &mut Buffer) -> Request {
        self.input.consume(length);
        // While the request is under way there is nothing to hold.
        worker.buffers.give_if_empty(&mut self.input);
        if request.lacks_id {
            worker.ids.add(out);
        }
        request
    }

    async fn read_more(&mut self) -> Result<(), NoRequest> {
        /// So that a buffer which is nearly full does not cause a read per byte.
        const WORTH_A_READ: usize = 1024;
        self.input.reserve(WORTH_A_READ);
        let is_silent = self.input.is_empty();
        let (mut from, _) = self.stream.split();
        match self.watch.guard(io::read(&mut from, &mut self.input)).await {
            Ok(Ok(1..)) => Ok(()),
            Err(_) if !is_silent => Err(NoRequest::Refused(Refusal::HeadTooSlow)),
            Ok(Ok(0) | Err(_)) | Err(_) => Err(NoRequest::Over),
        }
    }

    /// Answers something that is no request.
    async fn turn_away(&mut self, worker: &Worker, refusal: Refusal) -> After {
        let started = Instant::now();
        let head_only = self.input.filled().starts_with(b"HEAD ");
        let bytes = self.refuse(worker, refusal, true, head_only, None).await;
        if let Some(log) = &worker.log {
            log.record(&Entry {
                line: b"- -",
                client: self.origin.address(),
                status: refusal.status(),
                bytes,
                started,
                pool: None,
                upstream: None,
                retries: 0,
                id: None,
            });
        }
        After::Linger
    }

    /// Sends an answer of the gateway's own; says how many bytes left.
    pub(crate) async fn refuse(
        &mut self,
        worker: &Worker,
        refusal: Refusal,
        close: bool,
        head_only: bool,
        id: Option<&[u8]>,
    ) -> u64 {
        worker.tally.refused(refusal.status());
        let mut out = worker.buffers.take();
        refusal.write(close, head_only, id, &mut out);
        self.watch.set(worker.site().shared.timeouts.body);
        let (_, mut to) = self.stream.split();
        let mut sent = 0;
        // If the client is gone or reads nothing there is nobody to tell.
        let _ = self.watch.guard(io::write_all(&mut to, out.filled(), |n| sent += n as u64)).await;
        worker.buffers.give(out);
        sent
    }

    /// Ends the connection and reads on for a while: closing with bytes unread would make the kernel send a reset,
    /// which may take the answer away from the client before it has read it.
    async fn linger(&mut self, worker: &Worker) {
        self.watch.set(worker.site().shared.timeouts.linger);
        io::shut_down_writing(&mut self.stream).await;
        worker.buffers.give(std::mem::replace(&mut self.input, worker.buffers.take()));
        let (mut from, _) = self.stream.split();
        loop {
            self.input.clear();
            if !matches!(self.watch.guard(io::read(&mut from, &mut self.input)).await, Ok(Ok(1..))) {
                return;
            }
        }
    }
}

/// Empty lines before a request are left over from another one's body (RFC 9112, 2.2).
fn skip_empty_lines(scanner: &mut Scanner, input: &mut Buffer) {
    while scanner.is_in_first_line() && input.filled().starts_with(b"\r\n") {
        input.consume(2);
        *scanner = Scanner::default();
    }
}
