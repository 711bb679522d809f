//! What happens only to stores that fail: they are out for a while, forget what they had acknowledged, or everything.
//!
//! Nobody is told but by what becomes of their calls and of their streams.

use std::time::Duration;

use super::{BROWSERS, History, Ills};
use crate::application::Action;
use crate::gates::{Fate, Place};
use crate::servers::SERVERS;
use crate::world::{Outage, Way};

impl History {
    /// Something befalls the store, or somebody uses a server while something has.
    pub(super) async fn befall_store(&mut self) -> Result<(), String> {
        if self.world.outage().is_none() {
            match self.rng.u32(..100) {
                0..20 => self.begin_outage(),
                20..40 => {
                    // Every server knows every session.
                    self.inspect().await?;
                    self.begin_outage();
                }
                40..50 if self.temper.store == Ills::Failovers => self.world.fail_over(&mut self.rng),
                50..60 if self.temper.store == Ills::Failovers => self.forget_newest().await?,
                60..65 if self.temper.store == Ills::Failovers => self.forget_logout().await?,
                40..45 if self.temper.store == Ills::Wipes => self.world.wipe(),
                65..75 if self.temper.lifeboats => self.go_back().await?,
                _ => {}
            }
            return Ok(());
        }
        match self.rng.u32(..100) {
            0..35 => self.end_outage().await,
            35..45 => self.world.wait(Duration::from_millis(self.rng.u64(1..3_000))).await,
            45..60 => self.read_on().await?,
            60..80 => {
                let by = self.rng.u64(1..100);
                self.finish(|place| place != Place::Handler).await?;
                self.world.advance(Duration::from_secs(by));
                self.read_on().await?;
            }
            80..90 if self.temper.store == Ills::Failovers => {
                self.world.fail_over(&mut self.rng);
                self.end_outage().await;
            }
            _ => {}
        }
        Ok(())
    }

    /// What a browser was just told is forgotten, perhaps a renewal, and it goes on.
    async fn forget_newest(&mut self) -> Result<(), String> {
        if self.rng.bool() {
            self.finish(|_| true).await?;
            self.world.advance(Duration::from_mins(16));
            self.lose_late_answers();
        }
        self.visit().await?;
        self.world.fail_over(&mut self.rng);
        self.settle().await?;
        self.visit().await
    }

    /// A user logs out, the store forgets that, and somebody comes to the same server with the cookies of before.
    async fn forget_logout(&mut self) -> Result<(), String> {
        let (browser, server) = (self.rng.usize(..BROWSERS), self.rng.usize(..SERVERS));
        if !self.browsers[browser].under_way.is_empty() || self.world.running() >= 4 {
            return Ok(());
        }
        let jar = self.browsers[browser].jar.clone();
        let number = self.send_to(server, browser, (Action::Logout, false), true);
        self.receive_next(browser, number).await?;
        self.settle().await?;
        self.world.fail_over(&mut self.rng);
        self.settle().await?;
        self.come_with(&jar, server, Action::Look).await
    }

    pub(super) fn begin_outage(&mut self) {
        let way = [Way::Gone, Way::Silent, Way::Doubtful][self.rng.usize(..3)];
        let answers_probes = way == Way::Doubtful && self.rng.bool();
        let server = self.rng.bool().then(|| self.rng.usize(..SERVERS));
        self.world.begin_outage(Outage { way, answers_probes, server });
        for server in 0..SERVERS {
            // Who is connected may not notice.
            if self.world.is_cut_off(server) || self.rng.u8(..4) == 0 {
                self.world.servers.stream(server).cut();
            }
        }
    }

    async fn end_outage(&mut self) {
        self.world.end_outage(&mut self.rng);
        let now = self.world.moment().time;
        for server in 0..SERVERS {
            if self.rng.u8(..4) > 0 {
                self.world.servers.stream(server).mend(now);
            }
        }
        if self.rng.bool() {
            self.world.wait(Duration::from_millis(self.rng.u64(1..2_000))).await;
        }
    }

    /// All sessions are looked at on all servers, by their browsers and by who stands in for them.
    async fn read_on(&mut self) -> Result<(), String> {
        for (browser, server) in
            (0..BROWSERS).flat_map(|browser| (0..SERVERS).map(move |server| (browser, server)))
        {
            if self.world.running() < 5 {
                let has_seen = self.rng.bool();
                let number = self.send_to(server, browser, (Action::Look, false), has_seen);
                self.receive_next(browser, number).await?;
            }
        }
        Ok(())
    }

    /// What becomes of a call of a store that is out, or of its answer.
    pub(super) fn fate_in(&mut self, way: Way) -> Fate {
        let fates: &[Fate] = match way {
            Way::Gone => &[Fate::Refused],
            Way::Silent => &[Fate::Hangs, Fate::HangsAfter, Fate::HangsLate, Fate::HangsLate],
            Way::Doubtful => &[Fate::Done, Fate::Refused, Fate::LostBefore, Fate::LostAfter, Fate::LostAfter],
        };
        fates[self.rng.usize(..fates.len())]
    }

    /// The store is well again, for good. Every server finds that out by itself, and from then on turns nobody away.
    pub(super) async fn end_ills(&mut self) -> Result<(), String> {
        if self.world.outage().is_some() {
            self.end_outage().await;
        }
        (self.temper.failing, self.temper.store) = (0, Ills::None);
        self.come_to_rest().await?;
        self.world.wait(NOTICED).await;
        if self.temper.lifeboats {
            self.replay_all().await?;
        }
        self.world.rest();
        if self.world.servers.take_store_for_out() {
            Err("the store is back, and nobody noticed".to_owned())
        } else {
            Ok(())
        }
    }
}

/// As long as a probe may take that was sent before the store was back, and the pause after it.
const NOTICED: Duration = Duration::from_secs(7);
