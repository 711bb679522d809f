//! The load: closed (each connection asks again once it has been answered), or open (requests come when they are
//! due, whoever is busy, and their time counts from then).
//!
//! An open load never waits for the gateway to send what is due: one that falls behind has to show it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::clients::Clients;
use crate::connection::{Arrived, Connection};
use crate::poller::Poller;
use crate::report::Report;

pub(crate) struct Load {
    target: SocketAddr,
    poller: Poller,
    connections: Vec<Connection>,
    clients: Clients,
    scratch: Vec<u8>,
    request: Vec<u8>,
    ids: Vec<usize>,
    chance: fastrand::Rng,
}

/// Whether another request is to be sent.
type Goes<'a> = &'a mut dyn FnMut() -> bool;

impl Load {
    pub(crate) fn new(target: SocketAddr, connections: usize, clients: usize) -> io::Result<Self> {
        // Without it every wait is 50 µs longer than asked for.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let poller = Poller::new()?;
        let connections: Vec<_> =
            (0..connections).map(|_| Connection::open(target)).collect::<io::Result<_>>()?;
        for (id, connection) in connections.iter().enumerate() {
            poller.watch_reading(&connection.stream, id)?;
        }
        Ok(Self {
            target,
            poller,
            connections,
            clients: Clients::new(clients),
            scratch: vec![0; 256 * 1024],
            request: Vec::new(),
            ids: Vec::new(),
            chance: fastrand::Rng::with_seed(7),
        })
    }

    /// A request for each client, `width` at a time, and at least one over each connection.
    pub(crate) fn warm_up(&mut self, width: usize) -> io::Result<Report> {
        let all = self.clients.len().max(self.connections.len());
        let (mut sent, mut done, mut report, start) = (0, 0, Report::default(), Instant::now());
        while done < all {
            while sent < all && sent - done < width {
                // Connections take turns, as the least recently used is the one most surely free.
                let free = (sent..).map(|n| n % self.connections.len());
                let id =
                    free.into_iter().find(|&id| self.connections[id].asked.is_none()).expect("a free one");
                self.ask(id, "/small", Instant::now())?;
                sent += 1;
            }
            self.poller.wait(None, &mut self.ids)?;
            for id in std::mem::take(&mut self.ids) {
                done += usize::from(self.hear(id, &mut report)?);
            }
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// As many requests as are answered in this time.
    pub(crate) fn run_for(&mut self, seconds: f64, path: &str) -> io::Result<Report> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        self.run_while(path, &mut || Instant::now() < end)
    }

    /// So many requests.
    pub(crate) fn run_count(&mut self, mut requests: usize, path: &str) -> io::Result<Report> {
        let goes = &mut || {
            let goes = requests > 0;
            requests = requests.saturating_sub(1);
            goes
        };
        self.run_while(path, goes)
    }

    fn run_while(&mut self, path: &str, goes: Goes<'_>) -> io::Result<Report> {
        let (mut report, start, mut under_way) = (Report::default(), Instant::now(), 0);
        for id in 0..self.connections.len() {
            if goes() {
                self.ask(id, path, Instant::now())?;
                under_way += 1;
            }
        }
        while under_way > 0 {
            self.poller.wait(None, &mut self.ids)?;
            let ids = std::mem::take(&mut self.ids);
            for &id in &ids {
                if self.hear(id, &mut report)? {
                    if goes() {
                        self.ask(id, path, Instant::now())?;
                    } else {
                        under_way -= 1;
                    }
                }
            }
            self.ids = ids;
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// A new connection for each request, as many at a time as there are connections; the gateway closes them.
    pub(crate) fn run_fresh(&mut self, seconds: f64, path: &str) -> io::Result<Report> {
        let mut report = Report::default();
        let (mut poller, mut fresh) = (Poller::new()?, Vec::new());
        let (start, end) = (Instant::now(), Duration::from_secs_f64(seconds));
        for id in 0..self.connections.len() {
            fresh.push(Some(self.open_and_ask(&poller, id, path)?));
        }
        let mut under_way = fresh.len();
        while under_way > 0 {
            poller.wait(None, &mut self.ids)?;
            for id in std::mem::take(&mut self.ids) {
                let connection = fresh[id].as_mut().expect("a connection that is watched");
                // A reset after the whole answer is as good an end as any.
                if !matches!(connection.read(&mut self.scratch), Ok(Arrived::End) | Err(_)) {
                    continue;
                }
                let asked = connection.asked.take().expect("a request was sent");
                report.note(asked.due.elapsed());
                report.errors += usize::from(!asked.is_whole || asked.answer.status != 200);
                report.moved += usize::from(self.clients.answered(asked.client, asked.answer.upstream, None));
                fresh[id] = None;
                if start.elapsed() < end {
                    fresh[id] = Some(self.open_and_ask(&poller, id, path)?);
                } else {
                    under_way -= 1;
                }
            }
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }

    fn open_and_ask(&mut self, poller: &Poller, id: usize, path: &str) -> io::Result<Connection> {
        let due = Instant::now();
        let mut connection = Connection::open(self.target)?;
        poller.watch_reading(&connection.stream, id)?;
        let client = self.clients.next();
        self.clients.write(client, path, false, &mut self.request);
        connection.ask(client, due, &self.request)?;
        Ok(connection)
    }

    /// Requests at random moments, so many a second on average; what finds no connection free waits for one.
    pub(crate) fn run_at_rate(&mut self, seconds: f64, path: &str, rate: f64) -> io::Result<Report> {
        let (mut report, start) = (Report::default(), Instant::now());
        let end = start + Duration::from_secs_f64(seconds);
        let mut free: VecDeque<_> = (0..self.connections.len()).collect();
        let mut due = start + self.gap(rate);
        loop {
            let mut now = Instant::now();
            while due <= now && due < end {
                let Some(id) = free.pop_front() else { break };
                self.ask(id, path, due)?;
                due += self.gap(rate);
                now = Instant::now();
            }
            let is_over = due >= end;
            if is_over && free.len() == self.connections.len() {
                break;
            }
            let limit = (!is_over && !free.is_empty()).then(|| due.saturating_duration_since(now));
            self.poller.wait(limit, &mut self.ids)?;
            let ids = std::mem::take(&mut self.ids);
            for &id in &ids {
                if self.hear(id, &mut report)? {
                    free.push_back(id);
                }
            }
            self.ids = ids;
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// The time between two requests of independent clients.
    fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64(-(1.0 - self.chance.f64()).ln() / rate)
    }

    fn ask(&mut self, id: usize, path: &str, due: Instant) -> io::Result<()> {
        let client = self.clients.next();
        self.clients.write(client, path, true, &mut self.request);
        self.connections[id].ask(client, due, &self.request)
    }

    /// Says whether an answer is whole. A connection that ends is replaced, and its request is an error.
    fn hear(&mut self, id: usize, report: &mut Report) -> io::Result<bool> {
        let connection = &mut self.connections[id];
        match connection.read(&mut self.scratch) {
            Ok(Arrived::Part) => Ok(false),
            Ok(Arrived::Whole) => {
                let asked = connection.asked.take().expect("a request was sent");
                report.note(asked.due.elapsed());
                report.errors += usize::from(asked.answer.status != 200);
                let moved = self.clients.answered(asked.client, asked.answer.upstream, asked.answer.cookie);
                report.moved += usize::from(moved);
                Ok(true)
            }
            Ok(Arrived::End) | Err(_) => {
                let was_asked = connection.asked.is_some();
                report.errors += usize::from(was_asked);
                *connection = Connection::open(self.target)?;
                self.poller.watch_reading(&connection.stream, id)?;
                Ok(was_asked)
            }
        }
    }
}
