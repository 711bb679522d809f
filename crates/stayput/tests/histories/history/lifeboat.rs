//! What happens only where browsers carry lifeboats: somebody keeps all cookies of a browser, and comes with them later, when
//! they are old; and in the end it is looked what is left of everything.

use std::time::Duration;

use super::{BROWSERS, History};
use crate::application::Action;
use crate::browser::Jar;
use crate::servers::SERVERS;
use crate::world::Ties;

impl History {
    /// Somebody keeps all of a browser's cookies: of one moment, so that they fit together.
    pub(super) fn copy_cookies(&mut self) {
        let browser = self.rng.usize(..BROWSERS);
        self.copies.push(self.browsers[browser].jar.clone());
    }

    /// Somebody comes with cookies as they were some time ago.
    pub(super) fn use_copy(&mut self) {
        let actions =
            [Action::Look, Action::Look, Action::Mark, Action::Add, Action::Set("cart"), Action::Logout];
        let action = actions[self.rng.usize(..actions.len())];
        self.use_copy_for(action);
    }

    fn use_copy_for(&mut self, action: Action) {
        if self.copies.is_empty() || self.world.running() >= 5 {
            return;
        }
        let jar = self.copies[self.rng.usize(..self.copies.len())].clone();
        let server = self.rng.usize(..SERVERS);
        self.world.send(server, &jar, Ties::default(), (action, false));
        self.senders.push(None);
    }

    /// A browser goes on at a server, the store goes out, and somebody comes to that server with the cookies of before: what
    /// they carry is older than the server's copy.
    pub(super) async fn go_back(&mut self) -> Result<(), String> {
        let (browser, server) = (self.rng.usize(..BROWSERS), self.rng.usize(..SERVERS));
        if !self.browsers[browser].under_way.is_empty() || self.world.running() >= 4 {
            return Ok(());
        }
        let jar = self.browsers[browser].jar.clone();
        for action in [Action::Mark, Action::Add] {
            let number = self.send_to(server, browser, (action, false), true);
            self.receive_next(browser, number).await?;
        }
        self.settle().await?;
        self.begin_outage();
        let action = [Action::Look, Action::Add, Action::Mark][self.rng.usize(..3)];
        self.come_with(&jar, server, action).await
    }

    /// Somebody comes with the cookies in `jar`, and waits a while for their answer.
    pub(super) async fn come_with(&mut self, jar: &Jar, server: usize, action: Action) -> Result<(), String> {
        let number = self.world.send(server, jar, Ties::default(), (action, false));
        self.senders.push(None);
        for _ in 0..50 {
            self.settle().await?;
            if self.world.log.request(number).end.is_some() {
                break;
            }
            self.open_one();
        }
        Ok(())
    }

    /// Time passes in steps that no call of the store comes to its limit in, until all that waits is replayed.
    pub(super) async fn replay_all(&mut self) -> Result<(), String> {
        for round in 0..150 {
            self.come_to_rest().await?;
            if round >= 30 && self.world.servers.have_empty_journals() {
                break;
            }
            self.world.wait(Duration::from_millis(250)).await;
        }
        self.come_to_rest().await
    }

    /// All sessions that anybody has cookies of are looked at: first so that what is to come back does, then to see what became
    /// of them.
    pub(super) async fn take_stock(&mut self) -> Result<(), String> {
        for browser in 0..BROWSERS {
            self.copies.push(self.browsers[browser].jar.clone());
        }
        for _ in 0..2 {
            for copy in 0..self.copies.len() {
                let (jar, server) = (self.copies[copy].clone(), self.rng.usize(..SERVERS));
                self.world.send(server, &jar, Ties::default(), (Action::Look, false));
                self.senders.push(None);
                self.come_to_rest().await?;
            }
            // Whatever came back has its writes replayed.
            self.replay_all().await?;
            self.world.advance(Duration::from_secs(40));
        }
        self.world.judge_limit()
    }
}
