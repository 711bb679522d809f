//! What happens only where there are near caches: messages of changes arrive, pulses come or don't, connections break,
//! servers begin anew.
//!
//! Nothing is told of before it happened.

use std::time::Duration;

use super::{BROWSERS, History, Told};
use crate::application::Action;
use crate::servers::SERVERS;

impl History {
    /// Something that happens only where there are near caches.
    pub(super) async fn happen_near(&mut self, told: Told) -> Result<(), String> {
        let server = self.rng.usize(..SERVERS);
        let is_odd = self.rng.u8(..4) == 0;
        match self.rng.u32(..100) {
            0..30 => drop(self.world.hear(server, is_odd)),
            30..40 => while self.world.hear(server, is_odd) {},
            40..55 => self.tick(false).await?,
            55..60 => {
                // Whatever was kept wrongly by now is kept for longer than it may be, and shows.
                for _ in 0..5 {
                    self.tick(true).await?;
                }
                self.inspect().await?;
            }
            60..74 => self.visit().await?,
            74..80 => self.race(server).await?,
            80..83 => self.cut(server),
            83..87 => self.mend(server),
            87..91 => self.blink(server),
            91..92 => self.crash(server).await,
            _ if told == Told::Lies => self.world.servers.stream(server).lie(),
            _ => {}
        }
        Ok(())
    }

    /// A little time passes, as little as healthy streams are silent; most of them are, and all if it `is_quiet`.
    async fn tick(&mut self, is_quiet: bool) -> Result<(), String> {
        for server in 0..SERVERS {
            if is_quiet || self.rng.bool() {
                while self.world.hear(server, false) {}
            }
            if (is_quiet || self.rng.u8(..8) > 0) && !self.world.is_cut_off(server) {
                self.world.pulse(server);
            }
        }
        self.settle().await?;
        let by = self.rng.u64(50..1_000);
        self.world.advance(Duration::from_millis(by));
        Ok(())
    }

    /// A browser asks for one thing after the other, on any server, and awaits each answer.
    pub(super) async fn visit(&mut self) -> Result<(), String> {
        let browser = self.rng.usize(..BROWSERS);
        for _ in 0..self.rng.u32(2..5) {
            if !self.browsers[browser].under_way.is_empty() || self.world.running() >= 5 {
                return Ok(());
            }
            let action = self.action(browser);
            let number = self.send(browser, action, false);
            self.receive_next(browser, number).await?;
        }
        Ok(())
    }

    /// A server reads a session, and before it has its answer another one writes to it; which the first may be told. Who
    /// wrote asks the first one at once.
    async fn race(&mut self, reader: usize) -> Result<(), String> {
        let browser = self.rng.usize(..BROWSERS);
        if self.world.running() >= 4 {
            return Ok(());
        }
        if self.rng.bool() {
            // Without a copy, it shares its read with who comes later.
            self.blink(reader);
            self.settle().await?;
            self.send_to(reader, browser, (Action::Look, false), false);
        } else {
            self.send_to(reader, browser, (Action::Fresh, false), false);
        }
        self.settle().await?;
        self.open_one();
        let written = self.send_to((reader + 1) % SERVERS, browser, (Action::Mark, false), true);
        self.receive_next(browser, written).await?;
        if self.rng.bool() {
            while self.world.hear(reader, false) {}
        }
        let again = self.send_to(reader, browser, (Action::Look, false), true);
        self.receive_next(browser, again).await
    }

    /// Every session is looked at on every server, by somebody who hasn't seen it.
    pub(super) async fn inspect(&mut self) -> Result<(), String> {
        for (browser, server) in
            (0..BROWSERS).flat_map(|browser| (0..SERVERS).map(move |server| (browser, server)))
        {
            if self.world.running() < 5 {
                let number = self.send_to(server, browser, (Action::Look, false), false);
                self.receive_next(browser, number).await?;
            }
        }
        Ok(())
    }

    /// Waits for an answer, and receives it before all others.
    pub(super) async fn receive_next(&mut self, browser: usize, number: u32) -> Result<(), String> {
        for _ in 0..50 {
            self.settle().await?;
            let answers = &self.browsers[browser].answers;
            if let Some(at) = answers.iter().position(|(_, answer)| answer.request == number) {
                self.receive(browser, at, false);
                break;
            }
            self.open_one();
        }
        Ok(())
    }

    fn cut(&mut self, server: usize) {
        self.world.servers.stream(server).cut();
        self.world.note(format_args!("server {server} is told nothing from here on"));
    }

    fn mend(&mut self, server: usize) {
        if self.world.is_cut_off(server) {
            return;
        }
        let now = self.world.moment().time;
        self.world.servers.stream(server).mend(now);
        self.world.note(format_args!("server {server} is to be told again"));
    }

    /// The stream breaks, is made again, and says so.
    fn blink(&mut self, server: usize) {
        self.cut(server);
        self.mend(server);
        self.world.hear(server, false);
    }

    /// A server loses its memory and everything that it is working on.
    async fn crash(&mut self, server: usize) {
        while let Some(at) = self.world.running_on(server) {
            self.drop_request(at);
        }
        self.world.restart(server).await;
    }
}
