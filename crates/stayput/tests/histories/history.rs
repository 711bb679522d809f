//! A random walk: browsers that ask for things at once and get their answers late or never, time that passes, and a
//! thief. All of it follows from the seed.

mod lifeboat;
mod near;
mod store;

use std::time::Duration;

use fastrand::Rng;

use crate::application::{Action, VALUES};
use crate::browser::{Jar, KINDS, Kind};
use crate::gates::{Fate, Place};
use crate::servers::SERVERS;
use crate::world::{Answer, Ties, World};

/// How rough a history is, in hundredths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Temper {
    /// Answers that are lost.
    pub(crate) lost: u32,
    /// Store calls that fail.
    pub(crate) failing: u32,
    /// Events that cancel a request.
    pub(crate) cancelled: u32,
    /// What the servers' near caches are told, if they have any.
    pub(crate) told: Option<Told>,
    /// Whether browsers carry lifeboats, and servers write journals.
    pub(crate) lifeboats: bool,
    /// What befalls the store, beside single calls that fail.
    pub(crate) store: Ills,
}

/// What befalls a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ills {
    None,
    /// It is out now and then, for all servers.
    Outages,
    /// It is out, and now and then it fails over to one that lags.
    Failovers,
    /// It is out, and now and then it loses everything.
    Wipes,
}

/// What is told of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Everything, if late; or else that something is missing.
    Truth,
    /// Messages are lost, and nobody is told so.
    Lies,
}

/// A browser and what its user may rely on.
#[derive(Default)]
struct Browser {
    jar: Jar,
    /// The session that its last login gave it.
    home: Option<u32>,
    /// Its logins, elevations and logouts whose answers it doesn't have yet.
    changing: usize,
    answers: Vec<(stayput::Timestamp, Answer)>,
    /// Its requests without an answer.
    under_way: Vec<u32>,
    /// The requests with whose answers alone it came to its cookies: each was sent when nothing else was under way.
    streak: Vec<u32>,
    /// The last of its requests, if nothing else was under way since it was sent.
    alone: Option<u32>,
}

pub(crate) struct History {
    rng: Rng,
    temper: Temper,
    world: World,
    browsers: Vec<Browser>,
    /// Whose request it is.
    senders: Vec<Option<usize>>,
    /// Cookies that the thief has seen, under the names that he will send them under.
    stolen: Vec<(Kind, String)>,
    /// All cookies that a browser had at some time.
    copies: Vec<Jar>,
}

impl History {
    pub(crate) fn new(rng: Rng, temper: Temper, world: World) -> Self {
        let browsers = (0..BROWSERS).map(|_| Browser::default()).collect();
        Self { rng, temper, world, browsers, senders: Vec::new(), stolen: Vec::new(), copies: Vec::new() }
    }

    /// Plays the history, and gives back its trace, or how it ended and its trace until then.
    pub(crate) async fn play(mut self) -> Result<String, String> {
        match self.walk().await {
            Ok(()) => Ok(self.world.trace),
            Err(broken) => Err(format!("{broken}\n{}", self.world.trace)),
        }
    }

    async fn walk(&mut self) -> Result<(), String> {
        for _ in 0..EVENTS {
            if let Some(told) = self.temper.told
                && self.rng.bool()
            {
                self.happen_near(told).await?;
                self.settle().await?;
                continue;
            }
            if self.temper.store != Ills::None && self.rng.u8(..10) == 0 {
                self.befall_store().await?;
                self.settle().await?;
                continue;
            }
            match self.rng.u32(..100) {
                0..18 if self.world.running() < 5 => self.ask(),
                18..20 if self.temper.lifeboats => self.copy_cookies(),
                20..23 if self.temper.lifeboats => self.use_copy(),
                18..20 => self.steal_or_plant(),
                20..23 if self.world.running() < 5 => self.replay(),
                23..42 => self.answer_one(),
                42..47 => self.pass_time().await?,
                47..48 => self.world.sweep()?,
                48..50 => {
                    let some = self.rng.u64(..2_000);
                    self.world.advance(Duration::from_millis(some));
                }
                50..52 => self.cancel(),
                _ => self.open_one(),
            }
            self.settle().await?;
        }
        self.end_ills().await?;
        for _ in 0..2 {
            self.come_to_rest().await?;
            for browser in 0..BROWSERS {
                self.send(browser, Action::Look, false);
                self.come_to_rest().await?;
            }
            self.world.advance(Duration::from_secs(40));
        }
        if self.temper.lifeboats {
            self.take_stock().await?;
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        let now = self.world.moment().time;
        for answer in self.world.settle().await? {
            if let Some(browser) = self.senders[answer.request as usize] {
                self.browsers[browser].answers.push((now, answer));
            }
        }
        Ok(())
    }

    /// A browser sends a request.
    fn ask(&mut self) {
        let browser = self.rng.usize(..BROWSERS);
        let action = self.action(browser);
        let is_slow = self.rng.u8(..4) == 0;
        self.send(browser, action, is_slow);
    }

    fn action(&mut self, browser: usize) -> Action {
        let value = VALUES[self.rng.usize(..VALUES.len())];
        let is_thief = browser == THIEF;
        let is_stranger = self.browsers[browser].home.is_none() && self.browsers[browser].changing == 0;
        let user = if self.rng.u8(..6) == 0 { 9 } else { u32::try_from(browser).expect("there are few") };
        match self.rng.u32(..100) {
            0..30 if is_stranger && !is_thief => Action::Login(user),
            28..42 => Action::Mark,
            42..55 => {
                if self.temper.lifeboats {
                    Action::Add
                } else {
                    Action::Mark
                }
            }
            55..70 => Action::Set(value),
            70..76 => Action::Remove(value),
            76..85 => Action::Take("ticket"),
            85..88 => Action::Plain,
            88..92 if !is_thief => Action::Elevate,
            92..93 if !is_thief => Action::Login(user),
            93..95 if !is_thief => Action::EndAll(user),
            95..97 if !is_thief => Action::Logout,
            97 if self.temper.told.is_some() => Action::Fresh,
            98 if self.temper.told.is_some() => Action::Refresh,
            _ => Action::Look,
        }
    }

    fn send(&mut self, browser: usize, action: Action, is_slow: bool) -> u32 {
        let server = self.rng.usize(..SERVERS);
        let has_seen = self.temper.told.is_none() || self.rng.u8(..3) > 0;
        self.send_to(server, browser, (action, is_slow), has_seen)
    }

    /// The same to one server, perhaps by somebody else with the same session, who hasn't seen what the browser has.
    fn send_to(&mut self, server: usize, browser: usize, act: (Action, bool), has_seen: bool) -> u32 {
        let sender = &mut self.browsers[browser];
        if !sender.under_way.is_empty() || !has_seen {
            sender.streak.clear();
        }
        let mut jar = sender.jar.clone();
        if !has_seen {
            jar.set(Kind::Version, None);
            if self.temper.lifeboats && self.rng.bool() {
                jar.set(Kind::Lifeboat, None);
            }
        }
        let ties = Ties { home: sender.home, after: sender.streak.clone() };
        let number = self.world.send(server, &jar, ties, act);
        sender.alone = sender.under_way.is_empty().then_some(number);
        sender.under_way.push(number);
        if self.world.log.request(number).changes_identity() {
            sender.home = None;
            sender.changing += 1;
        }
        self.senders.push(Some(browser));
        number
    }

    /// An answer arrives at its browser, not always in the order of sending, or is lost.
    fn answer_one(&mut self) {
        let waiting = (0..BROWSERS).filter(|browser| !self.browsers[*browser].answers.is_empty());
        let Some(browser) = self.rng.choice(waiting.collect::<Vec<_>>()) else { return };
        let at = self.rng.usize(..self.browsers[browser].answers.len());
        let is_lost = self.rng.u32(..100) < self.temper.lost;
        self.receive(browser, at, is_lost);
    }

    fn receive(&mut self, browser: usize, at: usize, is_lost: bool) {
        let receiver = &mut self.browsers[browser];
        let (_, answer) = receiver.answers.remove(at);
        let request = self.world.log.request(answer.request);
        let (number, changes) = (answer.request, request.changes_identity());
        receiver.changing -= usize::from(changes);
        receiver.end(number, !is_lost);
        if is_lost {
            self.world.note(format_args!("answer of #{number} is lost"));
            return;
        }
        for change in answer.changes {
            receiver.jar.set(change.kind, change.value);
        }
        if changes
            && receiver.changing == 0
            && request.is_ok()
            && self.world.log.sessions.contains_key(&number)
        {
            receiver.home = Some(number);
        }
        self.world.note(format_args!("answer of #{number} arrives"));
    }

    /// Somebody at a gate goes on; handlers that take their time seldom do.
    fn open_one(&mut self) {
        let places = self.world.gates.places();
        if places.is_empty() {
            return;
        }
        let at = self.rng.usize(..places.len());
        if places[at] != Place::Handler || self.rng.u8(..3) == 0 {
            let fate = self.fate(at, places[at]);
            self.world.open(at, fate);
        }
    }

    fn fate(&mut self, at: usize, place: Place) -> Fate {
        if let Some(way) = self.world.outage_at(at) {
            return self.fate_in(way);
        }
        let fails = matches!(place, Place::Call(_)) && self.rng.u32(..100) < self.temper.failing;
        if !fails {
            return Fate::Done;
        }
        [Fate::Refused, Fate::LostBefore, Fate::LostAfter, Fate::LostAfter][self.rng.usize(..4)]
    }

    /// Store calls end, answers arrive or are lost, then time passes; handlers may be at work all the while.
    async fn pass_time(&mut self) -> Result<(), String> {
        let (least, most) = match self.rng.u32(..12) {
            0..3 => (1, 20),
            3..6 => (20, 40),
            6..9 => (60, 300),
            9..11 => (840, 1020),
            _ => (1020, 1900),
        };
        let by = Duration::from_secs(self.rng.u64(least..most));
        let slowest = self.world.longest_running().saturating_add(by);
        self.finish(|place| place != Place::Handler || slowest > SLOWEST).await?;
        if self.rng.bool() {
            self.deliver();
        }
        self.world.advance(by);
        self.lose_late_answers();
        Ok(())
    }

    /// Opens all gates of such places, in any order, until nobody waits at one.
    async fn finish(&mut self, places: impl Fn(Place) -> bool) -> Result<(), String> {
        for _ in 0..1_000 {
            let waiting = self.world.gates.places();
            let at: Vec<_> = (0..waiting.len()).filter(|at| places(waiting[*at])).collect();
            if let Some(at) = self.rng.choice(at) {
                let fate = self.fate(at, waiting[at]);
                self.world.open(at, fate);
            } else if waiting.len() >= self.world.running() {
                return Ok(());
            } else if self.world.may_hang() {
                // They wait for answers that don't come, or try again.
                self.world.wait(Duration::from_secs(1)).await;
            }
            // Who is at no gate pauses between two attempts.
            self.settle().await?;
        }
        Err(format!(
            "requests don't come to an end: {} at {:?}",
            self.world.running(),
            self.world.gates.places()
        ))
    }

    /// All answers arrive, in any order, or are lost.
    fn deliver(&mut self) {
        for browser in 0..BROWSERS {
            while !self.browsers[browser].answers.is_empty() {
                let at = self.rng.usize(..self.browsers[browser].answers.len());
                let is_lost = self.rng.u32(..100) < self.temper.lost;
                self.receive(browser, at, is_lost);
            }
        }
    }

    /// No answer is under way for longer than the grace.
    fn lose_late_answers(&mut self) {
        let oldest = self.world.moment().time.before(LATENESS);
        for browser in 0..BROWSERS {
            while let Some(at) = self.browsers[browser].answers.iter().position(|(made, _)| *made < oldest) {
                self.receive(browser, at, true);
            }
        }
    }

    async fn come_to_rest(&mut self) -> Result<(), String> {
        for _ in 0..1_000 {
            self.finish(|_| true).await?;
            self.settle().await?;
            self.deliver();
            if self.world.running() == 0 && self.world.gates.places().is_empty() {
                return Ok(());
            }
        }
        Err(format!(
            "requests don't come to an end: {} at {:?}",
            self.world.running(),
            self.world.gates.places()
        ))
    }

    fn cancel(&mut self) {
        let running = self.world.running();
        if running == 0 || self.rng.u32(..100) >= self.temper.cancelled {
            return;
        }
        let at = self.rng.usize(..running);
        self.drop_request(at);
    }

    fn drop_request(&mut self, at: usize) {
        let number = self.world.cancel(at);
        if let Some(browser) = self.senders[number as usize] {
            let changes = self.world.log.request(number).changes_identity();
            self.browsers[browser].changing -= usize::from(changes);
            self.browsers[browser].end(number, false);
        }
    }

    /// The thief copies a cookie, or puts his own anonymous one into a browser.
    fn steal_or_plant(&mut self) {
        let victim = self.rng.usize(..THIEF);
        if self.rng.bool() {
            let planted = self.browsers[THIEF].jar.get(Kind::Anonymous).map(str::to_owned);
            self.browsers[victim].jar.set(Kind::Anonymous, planted);
            self.browsers[victim].streak.clear();
            return;
        }
        let kind = KINDS[self.rng.usize(..KINDS.len())];
        if let Some(cookie) = self.browsers[victim].jar.get(kind) {
            // Under the other name it must be worth nothing at any time.
            let name = KINDS[self.rng.usize(..KINDS.len())];
            self.stolen.push((name, cookie.to_owned()));
        }
    }

    /// The thief sends a stolen cookie that must be worth nothing by now.
    fn replay(&mut self) {
        let Some((kind, cookie)) = self.rng.choice(self.stolen.clone()) else { return };
        let mut jar = Jar::default();
        jar.set(kind, Some(cookie));
        let now = self.world.moment();
        let shown = self.world.meaning_of(&jar);
        if shown
            .iter()
            .any(|shown| self.world.log.is_over(shown.session, shown.generation, now, false).is_none())
        {
            return;
        }
        let actions = [Action::Look, Action::Mark, Action::Elevate, Action::Logout, Action::Set("cart")];
        let action = actions[self.rng.usize(..actions.len())];
        let server = self.rng.usize(..SERVERS);
        self.world.send(server, &jar, Ties::default(), (action, false));
        self.senders.push(None);
    }
}

impl Browser {
    /// A request has its answer, or won't get one.
    fn end(&mut self, number: u32, is_answered: bool) {
        self.under_way.retain(|other| *other != number);
        if is_answered && self.alone == Some(number) {
            self.streak.push(number);
        } else {
            self.streak.clear();
        }
    }
}

/// Two users' and the thief's.
const BROWSERS: usize = 3;
const THIEF: usize = 2;

/// Enough for a session to live, be renewed a few times, and end.
const EVENTS: usize = 200;

/// The longest that a handler takes.
const SLOWEST: Duration = Duration::from_mins(2);

/// The longest that an answer is under way.
const LATENESS: Duration = Duration::from_secs(30);
