//! Finding out who fails without being asked: checks at regular intervals, and whether who is silent hangs.
//!
//! One thread does that for the whole gateway, and looks up names, so that no request ever waits for either. It decides nothing: verdicts
//! stay with the upstreams, and pools weigh them.

mod check;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, iter};

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use self::check::{Found, ask, is_alive};
use crate::config::Check;
use crate::names;
use crate::pool::{Chance, Load, Pool};
use crate::site::Site;
use crate::upstream::Upstream;
use crate::worker::{Deadline, Shared};

/// How often it looks for a new site and for servers that are silent.
const TICK: Duration = Duration::from_millis(250);
/// For a sign of life.
const SIGN: Duration = Duration::from_secs(1);

/// Starts the thread; it ends when `stop` says when everything ends, or when nobody is left to say so.
pub(crate) fn start(shared: Arc<Shared>, stop: watch::Receiver<Deadline>) -> io::Result<JoinHandle<()>> {
    let runtime = names::runtime()?;
    thread::Builder::new().name("gateway-checks".into()).spawn(move || {
        runtime.block_on(async { Watchman::new(shared).serve(stop).await });
        // That ends the checks. A look-up that hangs is left to itself.
        runtime.shutdown_background();
    })
}

struct Watchman {
    shared: Arc<Shared>,
    generation: u64,
    site: Arc<Site>,
    /// Checks and questions under way.
    tasks: JoinSet<()>,
    /// Who is checked, and how. The upstream is kept, so that no other one has its address meanwhile.
    checked: HashMap<*const Upstream, Rounds>,
    /// Who is being asked for a sign of life.
    asked: HashMap<*const Upstream, (Arc<Upstream>, AbortHandle)>,
    /// Names being looked up, and when they were last.
    looks: Option<AbortHandle>,
    looked: Instant,
    chance: Chance,
}

struct Rounds {
    check: Check,
    _upstream: Arc<Upstream>,
    task: AbortHandle,
}

impl Watchman {
    fn new(shared: Arc<Shared>) -> Self {
        let (generation, site) = (shared.site.generation(), shared.site.latest());
        let mut watchman = Self {
            shared,
            generation,
            site,
            tasks: JoinSet::new(),
            checked: HashMap::new(),
            asked: HashMap::new(),
            looks: None,
            looked: Instant::now(),
            chance: Chance::from_system(),
        };
        watchman.check_all();
        watchman
    }

    async fn serve(mut self, mut stop: watch::Receiver<Deadline>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.tick(),
                // An error means that nobody is left to say when.
                _ = stop.changed() => return,
            }
        }
    }

    fn tick(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.asked.retain(|_, (_, task)| !task.is_finished());
        let generation = self.shared.site.generation();
        if generation != self.generation {
            (self.generation, self.site) = (generation, self.shared.site.latest());
            self.check_all();
        }
        let (site, now) = (Arc::clone(&self.site), Instant::now());
        self.look_up(now);
        for pool in &site.pools {
            self.ask_suspects(pool, now);
            pool.load.judge_again(now);
        }
    }

    /// Checks whom the site wants checked, from now on, and nobody else. Those who were checked in the same way before
    /// stay in their rounds.
    fn check_all(&mut self) {
        let (site, mut before) = (Arc::clone(&self.site), std::mem::take(&mut self.checked));
        let all = site.pools.iter().flat_map(|pool| iter::repeat(pool).zip(&pool.upstreams));
        for (pool, upstream) in all {
            let key = Arc::as_ptr(upstream);
            let own = before.remove(&key);
            match (&pool.health.check, own) {
                (Some(check), Some(own)) if own.check == *check => _ = self.checked.insert(key, own),
                (check, own) => {
                    own.inspect(|own| own.task.abort());
                    match check {
                        Some(check) => {
                            let rounds = self.begin(check, upstream, &pool.load);
                            self.checked.insert(key, rounds);
                        }
                        None if upstream.forget_check() => pool.load.judge(Instant::now()),
                        None => {}
                    }
                }
            }
        }
        for gone in before.values() {
            gone.task.abort();
        }
    }

    fn begin(&mut self, check: &Check, upstream: &Arc<Upstream>, load: &Arc<Load>) -> Rounds {
        let first = Instant::now() + first(check.interval, &self.chance);
        let rounds = rounds(check.clone(), Arc::clone(upstream), Arc::clone(load), first);
        Rounds { check: check.clone(), _upstream: Arc::clone(upstream), task: self.tasks.spawn(rounds) }
    }

    /// Looks up all names, if it is time to and the last time is over.
    fn look_up(&mut self, now: Instant) {
        let is_over = self.looks.as_ref().is_none_or(AbortHandle::is_finished);
        if !is_over || now.duration_since(self.looked) < self.site.resolve {
            return;
        }
        self.looked = now;
        let (site, book) = (Arc::clone(&self.site), self.shared.book.clone());
        self.looks = Some(self.tasks.spawn(async move {
            let all = site.pools.iter().flat_map(|pool| &pool.upstreams);
            book.look_up_all(all.filter(|its| its.has_name()).cloned().collect()).await;
            names::mark_lost(&site, Instant::now());
        }));
    }

    fn ask_suspects(&mut self, pool: &Pool, now: Instant) {
        // Whoever was ejected for silence is asked, too, if a reload has made silence no reason since.
        let silence = pool.health.silence.unwrap_or(Duration::MAX);
        for upstream in pool.upstreams.iter().filter(|upstream| upstream.is_suspect(silence, now)) {
            let key = Arc::as_ptr(upstream);
            if !self.asked.contains_key(&key) {
                let (load, config) = (Arc::clone(&pool.load), pool.health.clone());
                let asked = Arc::clone(upstream);
                let task = self.tasks.spawn(async move {
                    let is_alive = is_alive(&asked, SIGN).await;
                    let now = Instant::now();
                    let changes = if is_alive {
                        asked.is_alive(now)
                    } else {
                        asked.eject("it hangs", true, &config, now)
                    };
                    if changes {
                        load.judge(now);
                    }
                });
                self.asked.insert(key, (Arc::clone(upstream), task));
            }
        }
    }
}

/// The first check comes at a moment of its own within the interval, so that those of many servers don't come at once.
fn first(interval: Duration, chance: &Chance) -> Duration {
    interval.mul_f32(chance.fraction())
}

/// Checks one upstream over and over.
async fn rounds(check: Check, upstream: Arc<Upstream>, load: Arc<Load>, first: Instant) {
    let mut next = first;
    loop {
        sleep_until(next.into()).await;
        next = Instant::now() + check.interval;
        let result = match ask(&check, &upstream).await {
            Found::Pass => Ok(()),
            Found::Fail(why) => Err(why),
            Found::Nothing => continue,
        };
        let now = Instant::now();
        if upstream.checked(result, &check, now) {
            load.judge(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_a_thousand_servers_do_not_begin_at_once() {
        let (chance, interval) = (Chance::from_seed(5), Duration::from_secs(5));
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let first = first(interval, &chance);
            tenths[usize::try_from(first.as_millis() / 500).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (60..140).contains(count)), "{tenths:?}");
    }
}
