//! What befalls the store: outages, and that it forgets what it had acknowledged.
//!
//! Servers are told of neither, but by what their calls and streams come to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use stayput::Clock;
use stayput_testkit::{ModelState, ModelStore};

use super::World;
use crate::gates::{Fate, Place};
use crate::log::Loss;

/// That a store is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outage {
    pub(crate) way: Way,
    /// Whether it answers who asks if it is there, though it does little else.
    pub(crate) answers_probes: bool,
    /// The server that is cut off from it, or all.
    pub(crate) server: Option<usize>,
}

/// How a store is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// It takes no calls.
    Gone,
    /// It takes calls, and answers none.
    Silent,
    /// It does some of what it is asked for, and most of its answers are lost.
    Doubtful,
}

/// A store that can be put back to what it was, and what it was at the last few steps.
pub(crate) struct Past {
    store: Arc<ModelStore>,
    states: VecDeque<(u32, ModelState)>,
}

impl Past {
    pub(crate) fn new(store: Arc<ModelStore>) -> Self {
        Self { store, states: VecDeque::new() }
    }

    fn note(&mut self, step: u32) {
        if self.states.len() == BEHIND {
            self.states.pop_front();
        }
        self.states.push_back((step, self.store.state()));
    }
}

impl World {
    /// The store is out from here on, for a server or for all.
    pub(crate) fn begin_outage(&mut self, outage: Outage) {
        self.outage = Some(outage);
        if outage.server.is_none() && outage.way != Way::Doubtful {
            self.log.blackouts.push((self.moment(), None));
        }
        self.log.silences.push((self.gates.step(), None));
        self.break_probes(outage);
        self.note(format_args!("the store is out: {outage:?}"));
    }

    /// The store is back. What it was asked for and hadn't done it does now, in any order.
    pub(crate) fn end_outage(&mut self, rng: &mut Rng) {
        self.gates.answer_probes(None);
        self.note_outage();
        self.outage = None;
        let now = self.moment();
        if let Some((_, end)) = self.log.blackouts.last_mut() {
            end.get_or_insert(now);
        }
        if let Some((_, end)) = self.log.silences.last_mut() {
            *end = Some(self.gates.step());
        }
        let mut late = self.gates.late();
        rng.shuffle(&mut late);
        self.note(format_args!("the store is back, and does {} calls", late.len()));
        for call in late {
            call.send(()).expect("it waits for nothing else");
        }
    }

    fn break_probes(&self, outage: Outage) {
        let fate = match outage.way {
            Way::Gone | Way::Doubtful => Fate::Refused,
            Way::Silent => Fate::Hangs,
        };
        let process = outage.server.map(|server| self.servers.process(server));
        self.gates.answer_probes((!outage.answers_probes).then_some((process, fate)));
    }

    /// A server that was started anew is as much cut off as it was.
    pub(super) fn cut_off_again(&mut self, server: usize) {
        if let Some(outage) = self.outage.filter(|outage| outage.server == Some(server)) {
            self.break_probes(outage);
        }
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// How the store is out for who waits at the gate number `at`, if it is.
    pub(crate) fn outage_at(&self, at: usize) -> Option<Way> {
        let process = self.gates.process_at(at)?;
        let is_meant = |server| self.servers.process(server) == process;
        self.outage.filter(|outage| outage.server.is_none_or(is_meant)).map(|outage| outage.way)
    }

    /// Whether the store tells that server nothing and takes no connections of it.
    pub(crate) fn is_cut_off(&self, server: usize) -> bool {
        let is_silent = |outage: &Outage| {
            outage.way != Way::Doubtful && outage.server.is_none_or(|meant| meant == server)
        };
        self.outage.as_ref().is_some_and(is_silent)
    }

    /// Whether there may be calls that are never answered.
    pub(crate) fn may_hang(&self) -> bool {
        self.past.is_some()
    }

    /// Time passes for whoever waits for the store, and for nobody else. Calls that wait at gates may come to their limits.
    pub(crate) async fn wait(&mut self, by: Duration) {
        tokio::time::sleep(by).await;
        if self.gates.places().iter().any(|place| *place != Place::Handler) {
            self.servers.lose_trust();
        }
    }

    /// Another server takes the store's place, which had not heard of the newest writes.
    pub(crate) fn fail_over(&mut self, rng: &mut Rng) {
        let Some(past) = &self.past else { return };
        let Some((from, state)) = rng.choice(&past.states).cloned() else { return };
        past.store.put_back(state);
        self.forget_since(from);
        self.note(format_args!("the store fails over, and forgets what came after {from}"));
    }

    /// The store loses everything.
    pub(crate) fn wipe(&mut self) {
        let Some(past) = &self.past else { return };
        past.store.put_back(ModelState::default());
        self.servers.mark_anew();
        self.forget_since(0);
        self.note("the store is wiped");
    }

    fn forget_since(&mut self, from: u32) {
        let at = self.moment();
        self.log.losses.push(Loss { from, at });
        self.log.faults.push(at.step);
        if let Some(past) = &mut self.past {
            past.states.clear();
            past.note(at.step);
        }
        self.servers.reconnect(at.time);
    }

    /// Notes how the store is, and who may not trust it yet.
    pub(super) fn note_store(&mut self) {
        let step = self.gates.step();
        self.note_outage();
        if let Some(past) = &mut self.past {
            past.note(step);
        }
        if self.log.rest.is_none() {
            self.log.wary.extend(self.servers.wary().map(|process| (process, step)));
        }
    }

    /// Whoever is cut off from the store may fail.
    fn note_outage(&mut self) {
        let Some(outage) = self.outage else { return };
        let step = self.gates.step();
        match outage.server {
            None => self.log.faults.push(step),
            Some(server) => self.log.wary.push((self.servers.process(server), step)),
        }
    }

    /// From now on only one thing happens at a time: nothing is asked of the store that a wary server would not ask.
    pub(crate) fn rest(&mut self) {
        self.log.rest = Some(self.clock.now());
    }
}

/// As many steps as a replica may be behind.
const BEHIND: usize = 12;
