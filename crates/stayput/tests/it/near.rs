//! The near cache: what it spares the store, and what it must never answer.

use std::sync::Arc;
use std::time::Duration;

use stayput::{Builder, Keyring, NearCache, Subject, SystemRandom};
use stayput_core::Operation;
use stayput_stores::MemoryStore;
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};

use crate::support::{ANONYMOUS, Browser, SESSION, Server};

/// Two servers with near caches over one store that tells of changes.
struct Pair {
    a: Server,
    b: Server,
    store: Arc<TellingStore>,
    faults: Arc<FaultyStore>,
    clock: Arc<ManualClock>,
}

const VERSION: &str = "__Host-stayput-version";

impl Pair {
    fn new() -> Self {
        Self::with(&NearCache::default())
    }

    fn with(near_cache: &NearCache) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::default().with_clock(clock.clone());
        let faults = Arc::new(FaultyStore::new(Arc::new(memory)));
        let store = Arc::new(TellingStore::new(faults.clone()));
        let keyring = Arc::new(Keyring::generate(&SystemRandom));
        let server = || {
            let set = |builder: Builder| builder.near_cache(near_cache.clone());
            Server::near(store.clone(), faults.clone(), clock.clone(), keyring.clone(), set)
        };
        let (a, b) = (server(), server());
        Self { a, b, store, faults, clock }
    }

    /// Has the store say that it tells everything, and everybody hear it.
    async fn pulse(&self) {
        self.store.pulse();
        heard().await;
    }

    /// A browser that is logged in, and whose session `a` holds a copy of.
    async fn logged_in(&self) -> Browser {
        let browser = self.a.browser();
        browser.post("/login/alice").await;
        browser.post("/set/color/red").await;
        heard().await;
        self.pulse().await;
        // The cookie was never presented before: that is written down, too.
        assert_eq!(browser.get("/read/color").await.text, "red");
        heard().await;
        assert_eq!(browser.get("/read/color").await.text, "red");
        browser
    }

    /// How often the store was asked for a record meanwhile.
    async fn loads<T>(&self, work: impl Future<Output = T>) -> (usize, T) {
        let before = self.store.loads();
        let outcome = work.await;
        (self.store.loads() - before, outcome)
    }
}

/// Lets the tasks that follow the store take what they were told.
pub(crate) async fn heard() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_read_again_asks_the_store_for_nothing() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let calls = pair.store.calls();
    for _ in 0..10 {
        let reply = browser.get("/read/color").await;
        assert_eq!((reply.text.as_str(), reply.cookies.len()), ("red", 0));
    }
    assert_eq!(pair.store.calls(), calls);
}

#[tokio::test]
async fn a_write_takes_one_call_of_the_store_and_so_does_the_next() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    for n in 1..=10 {
        let calls = pair.store.calls();
        assert_eq!(browser.post("/count").await.text, n.to_string());
        heard().await;
        assert_eq!(pair.store.calls() - calls, 1, "at {n}");
    }
}

#[tokio::test]
async fn who_waits_for_answers_reads_their_own_writes_on_every_server() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    browser.at(&pair.b).get("/read/color").await;
    // Nobody hears anything from here on, and leases run.
    pair.store.hold();
    for n in 1..=10 {
        let (writer, reader) = if n % 2 == 0 { (&pair.a, &pair.b) } else { (&pair.b, &pair.a) };
        assert_eq!(browser.at(writer).post("/count").await.text, n.to_string());
        assert_eq!(browser.at(reader).get("/number/n").await.text, n.to_string());
    }
}

#[tokio::test]
async fn who_shows_two_sessions_reads_their_own_writes_to_the_second() {
    let pair = Pair::new();
    let other = pair.logged_in().await;
    let [session, version] = [SESSION, VERSION].map(|name| other.cookie(name).unwrap());
    other.post("/logout").await;
    let browser = pair.a.browser();
    browser.post("/set/color/red").await;
    heard().await;
    pair.pulse().await;
    browser.get("/read/color").await;
    browser.at(&pair.b).get("/read/color").await;
    heard().await;
    // Nobody hears of the change.
    pair.store.hold();
    browser.post("/set/color/blue").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    let both = [(SESSION, &*session), (ANONYMOUS, &*anonymous), (VERSION, &*version)];
    assert_eq!(browser.sending(&both).at(&pair.b).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn what_others_change_shows_when_it_is_told() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    let (loads, reply) = pair.loads(browser.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "red"));
    pair.store.release();
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn what_is_not_told_shows_when_the_lease_is_over() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    pair.clock.advance(Duration::from_millis(999));
    assert_eq!(browser.get("/read/color").await.text, "red");
    // The pulse is over, so the short lease counts; and over it is soon, too.
    pair.clock.advance(Duration::from_millis(1001));
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_logout_elsewhere_counts_when_it_is_told_or_the_lease_is_over() {
    for is_told in [true, false] {
        let pair = Pair::new();
        let browser = pair.logged_in().await;
        let other = browser.tab();
        pair.store.hold();
        other.at(&pair.b).post("/logout").await;
        assert_eq!(browser.get("/who").await.text, "alice");
        if is_told {
            pair.store.release();
            heard().await;
        } else {
            pair.clock.advance(Duration::from_secs(2));
        }
        assert_eq!(browser.get("/who").await.text, "nobody");
    }
}

#[tokio::test]
async fn a_logout_here_counts_at_once_even_if_the_store_forgets_it() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let tab = browser.tab();
    browser.post("/logout").await;
    let (loads, reply) = pair.loads(tab.get("/who")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "nobody"));
    // A break of the stream makes no difference to that.
    pair.store.lose();
    heard().await;
    let (loads, reply) = pair.loads(tab.get("/who")).await;
    assert_eq!((loads, reply.text.as_str()), (0, "nobody"));
}

#[tokio::test]
async fn a_logout_here_counts_where_no_copy_will_do_too() {
    let pair = Pair::new();
    let other = pair.logged_in().await;
    let session = other.cookie(SESSION).unwrap();
    other.post("/logout").await;
    let browser = pair.a.browser();
    browser.post("/set/color/red").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    browser.post("/logout").await;
    // The second has no version cookie: copies of it may be too old, and the store is asked. One that failed over may have
    // forgotten the logout.
    let both = browser.sending(&[(SESSION, &*session), (ANONYMOUS, &*anonymous)]);
    let (loads, reply) = pair.loads(both.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (0, ""));
}

#[tokio::test]
async fn who_ends_all_sessions_of_a_subject_ends_their_copies() {
    let pair = Pair::new();
    let (browser, other) = (pair.logged_in().await, pair.logged_in().await);
    pair.store.hold();
    pair.a.sessions.end_all(&Subject::new("alice")).await.unwrap();
    for browser in [browser, other] {
        assert_eq!(browser.get("/who").await.text, "nobody");
    }
}

#[tokio::test]
async fn who_ends_all_sessions_of_a_subject_at_the_second_try_ends_their_copies() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.hold();
    pair.faults.plan(Operation::EndSubject, Fault::After);
    pair.a.sessions.end_all(&Subject::new("alice")).await.unwrap();
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_lost_message_makes_all_copies_worthless() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    pair.store.drop_waiting();
    pair.store.release();
    pair.store.lose();
    heard().await;
    assert_eq!(browser.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_lease_runs_from_when_the_store_was_asked() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.lose();
    heard().await;
    pair.faults.plan(Operation::Load, Fault::PauseAfter);
    let slow = tokio::spawn(read(browser.tab()));
    pair.faults.paused().await;
    pair.clock.advance(Duration::from_millis(1900));
    pair.faults.resume();
    assert_eq!(slow.await.unwrap(), "red");
    pair.clock.advance(Duration::from_millis(100));
    let (loads, _) = pair.loads(read(browser.tab())).await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn long_leases_need_a_pulse_and_end_by_themselves() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    for _ in 0..29 {
        pair.clock.advance(Duration::from_secs(1));
        pair.pulse().await;
        let (loads, _) = pair.loads(browser.get("/read/color")).await;
        assert_eq!(loads, 0);
    }
    pair.clock.advance(Duration::from_secs(1));
    pair.pulse().await;
    let (loads, _) = pair.loads(browser.get("/read/color")).await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn a_made_up_version_gets_the_store_asked_once_in_a_short_lease() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let version = browser.cookie(VERSION).unwrap();
    let ahead = format!("{}.999999", version.split_once('.').unwrap().0);
    let session = browser.cookie(crate::support::SESSION).unwrap();
    let liar = browser.sending(&[(crate::support::SESSION, &session), (VERSION, &ahead)]);
    let reply = liar.tab().get("/read/color").await;
    assert_eq!(reply.text, "red");
    assert!(reply.cookies[0].starts_with(&format!("{VERSION}={version};")), "{reply:?}");
    for _ in 0..10 {
        let (loads, reply) = pair.loads(liar.tab().get("/read/color")).await;
        assert_eq!((loads, reply.text.as_str()), (0, "red"));
    }
    pair.clock.advance(Duration::from_secs(2));
    let (loads, _) = pair.loads(liar.tab().get("/read/color")).await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn any_version_cookie_is_taken() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let session = browser.cookie(crate::support::SESSION).unwrap();
    for value in ["", ".", "12345678.", "00000000.1", "12345678.99999999999999999999", "é.1", "12345678.-1"]
    {
        let odd = browser.sending(&[(crate::support::SESSION, &session), (VERSION, value)]);
        assert_eq!(odd.get("/read/color").await.text, "red", "{value}");
        assert_eq!(odd.cookie(VERSION), browser.cookie(VERSION), "{value}");
    }
}

#[tokio::test]
async fn a_fresh_session_comes_from_the_store() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    assert_eq!(browser.get("/read/color").await.text, "red");
    let fresh = pair.a.handling(|session| async move {
        assert_eq!(session.get::<String>("color").await?.as_deref(), Some("red"));
        session.fresh().await?;
        assert_eq!(session.get::<String>("color").await?.as_deref(), Some("blue"));
        Ok(())
    });
    assert_eq!(browser.tab().at(&fresh).post("/own").await.status, 200);
    let guarded = pair.a.guarded();
    let tab = browser.tab();
    tab.jar.lock().unwrap().remove(VERSION);
    assert_eq!(tab.at(&guarded).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_fresh_session_that_was_ended_is_an_error_and_no_copy() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/logout").await;
    let fresh = pair.a.handling(|session| async move {
        assert!(session.subject().await?.is_some());
        assert!(matches!(session.fresh().await, Err(stayput::Error::Ended)));
        Ok(())
    });
    assert_eq!(browser.tab().at(&fresh).post("/own").await.status, 200);
    // Now that the server knows, it doesn't go back to its copy.
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(browser.at(&pair.a.guarded()).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_write_that_changes_nothing_in_a_copy_is_made_again_on_what_there_is() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let other = browser.tab();
    pair.store.hold();
    other.at(&pair.b).post("/set/color/blue").await;
    // Its copy says that it is red already.
    browser.post("/set/color/red").await;
    assert_eq!(browser.at(&pair.b).get("/read/color").await.text, "red");
}

#[tokio::test]
async fn a_renewed_cookie_is_good_wherever_a_copy_is_from_before_the_renewal() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let interval = pair.a.sessions.policy().renewal_interval;
    pair.clock.advance(interval.saturating_sub(Duration::from_secs(1)));
    for _ in 0..2 {
        assert_eq!(browser.get("/read/color").await.text, "red");
    }
    pair.store.hold();
    pair.clock.advance(Duration::from_secs(1));
    let renewed = browser.at(&pair.b).get("/read/color").await;
    assert!(renewed.cookies.iter().any(|cookie| cookie.starts_with(crate::support::SESSION)), "{renewed:?}");
    // An answer that was late, or the browser, has it without the version that it came with.
    browser.jar.lock().unwrap().remove(VERSION);
    let (loads, reply) = pair.loads(browser.get("/read/color")).await;
    assert_eq!((loads, reply.text.as_str()), (1, "red"));
}

#[tokio::test]
async fn who_logged_in_elsewhere_is_not_put_back_by_a_late_answer_and_a_copy() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let before = browser.cookie(crate::support::SESSION).unwrap();
    pair.store.hold();
    browser.at(&pair.b).post("/login/bob").await;
    browser.jar.lock().unwrap().insert(crate::support::SESSION.to_owned(), before);
    assert_eq!(browser.get("/who").await.text, "bob");
}

#[tokio::test]
async fn what_a_failed_write_may_have_done_is_read_from_the_store() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    let tab = browser.tab();
    pair.store.hold();
    // It is done, and looking for it fails.
    pair.faults.plan(Operation::Replace, Fault::After);
    pair.faults.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/set/color/blue").await.status, 503);
    assert_eq!(tab.get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_copy_past_its_deadline_is_none() {
    let day = Duration::from_hours(24);
    let pair = Pair::with(&NearCache { lease: day, short_lease: day, ..NearCache::default() });
    let browser = pair.logged_in().await;
    let idle = pair.a.sessions.policy().idle_timeout;
    pair.clock.advance(idle);
    pair.pulse().await;
    assert_eq!(browser.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn parallel_misses_share_one_read() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.lose();
    heard().await;
    pair.faults.plan(Operation::Load, Fault::Pause);
    let (loads, ()) = pair
        .loads(async {
            let reads: Vec<_> = (0..50).map(|_| tokio::spawn(read(browser.tab()))).collect();
            pair.faults.paused().await;
            heard().await;
            pair.faults.resume();
            for read in reads {
                assert_eq!(read.await.unwrap(), "red");
            }
        })
        .await;
    assert_eq!(loads, 1);
}

#[tokio::test]
async fn a_shared_read_goes_on_when_who_began_it_gives_up() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.lose();
    heard().await;
    pair.faults.plan(Operation::Load, Fault::Pause);
    let first = tokio::spawn(read(browser.tab()));
    pair.faults.paused().await;
    let second = tokio::spawn(read(browser.tab()));
    heard().await;
    first.abort();
    heard().await;
    pair.faults.resume();
    assert_eq!(second.await.unwrap(), "red");
}

#[tokio::test]
async fn a_shared_read_that_fails_fails_for_all_and_the_next_one_reads() {
    let pair = Pair::new();
    // The other server has no copy that it could serve instead.
    let browser = pair.logged_in().await.at(&pair.b);
    pair.faults.plan(Operation::Load, Fault::Before);
    assert_eq!(browser.get("/read/color").await.status, 503);
    assert_eq!(browser.get("/read/color").await.text, "red");
}

#[tokio::test]
async fn a_read_that_was_overtaken_by_a_change_is_not_kept() {
    for is_own in [true, false] {
        let pair = Pair::new();
        let browser = pair.logged_in().await;
        pair.store.lose();
        heard().await;
        pair.pulse().await;
        // It has read the session, and is on its way back.
        pair.faults.plan(Operation::Load, Fault::PauseAfter);
        let slow = tokio::spawn(read(browser.tab()));
        pair.faults.paused().await;
        if is_own {
            pair.store.hold();
            pair.a.sessions.end_all(&Subject::new("alice")).await.unwrap();
        } else {
            browser.tab().at(&pair.b).post("/set/color/blue").await;
            heard().await;
        }
        pair.faults.resume();
        assert_eq!(slow.await.unwrap(), "red", "it began before");
        assert_eq!(read(browser.tab()).await, if is_own { "" } else { "blue" });
    }
}

#[tokio::test]
async fn a_read_during_which_messages_were_lost_is_not_kept() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.lose();
    heard().await;
    pair.faults.plan(Operation::Load, Fault::PauseAfter);
    let slow = tokio::spawn(read(browser.tab()));
    pair.faults.paused().await;
    pair.store.hold();
    browser.tab().at(&pair.b).post("/set/color/blue").await;
    pair.store.drop_waiting();
    pair.store.release();
    pair.store.lose();
    heard().await;
    pair.pulse().await;
    pair.faults.resume();
    assert_eq!(slow.await.unwrap(), "red", "it began before");
    assert_eq!(read(browser.tab()).await, "blue");
}

#[tokio::test]
async fn a_read_that_is_out_of_date_is_not_shared() {
    for is_told in [true, false] {
        let pair = Pair::new();
        let browser = pair.logged_in().await;
        pair.store.lose();
        heard().await;
        pair.faults.plan(Operation::Load, Fault::PauseAfter);
        let slow = tokio::spawn(read(browser.tab()));
        pair.faults.paused().await;
        if !is_told {
            pair.store.hold();
        }
        browser.tab().at(&pair.b).post("/set/color/blue").await;
        heard().await;
        if !is_told {
            // It was sent longer ago than a copy might be used.
            pair.clock.advance(Duration::from_secs(2));
        }
        assert_eq!(read(browser.tab()).await, "blue");
        pair.faults.resume();
        assert_eq!(slow.await.unwrap(), "red");
    }
}

#[tokio::test]
async fn a_write_that_changes_nothing_in_what_another_read_found_is_made_again_on_what_there_is() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.lose();
    heard().await;
    pair.faults.plan(Operation::Load, Fault::PauseAfter);
    let slow = tokio::spawn(read(browser.tab()));
    pair.faults.paused().await;
    pair.store.hold();
    browser.tab().at(&pair.b).post("/set/color/blue").await;
    let tab = browser.tab();
    let elsewhere = tab.at(&pair.b);
    let write = tokio::spawn(async move { tab.post("/set/color/red").await.status });
    heard().await;
    pair.faults.resume();
    assert_eq!((slow.await.unwrap(), write.await.unwrap()), ("red".to_owned(), 200.try_into().unwrap()));
    assert_eq!(elsewhere.get("/read/color").await.text, "red");
}

#[tokio::test]
async fn of_those_who_shared_a_read_that_was_behind_none_is_given_it_again() {
    let pair = Pair::new();
    let browser = pair.logged_in().await;
    pair.store.hold();
    // The message of this write is still to come, so the key is kept in mind.
    browser.post("/set/color/green").await;
    let version = browser.cookie(VERSION).unwrap();
    let ahead = format!("{}.999999", version.split_once('.').unwrap().0);
    let session = browser.cookie(crate::support::SESSION).unwrap();
    pair.faults.plan(Operation::Load, Fault::PauseAfter);
    let first = browser.sending(&[(crate::support::SESSION, &session), (VERSION, &ahead)]);
    let first = tokio::spawn(read(first));
    pair.faults.paused().await;
    browser.at(&pair.b).post("/set/color/blue").await;
    let reads: Vec<_> = (0..5).map(|_| tokio::spawn(read(browser.tab()))).collect();
    heard().await;
    pair.faults.resume();
    assert_eq!(first.await.unwrap(), "green", "it began before");
    for read in reads {
        assert_eq!(read.await.unwrap(), "blue");
    }
}

async fn read(browser: Browser) -> String {
    browser.get("/read/color").await.text
}

#[tokio::test]
async fn the_memory_of_copies_is_bounded() {
    let pair = Pair::with(&NearCache { bytes: 64 << 10, ..NearCache::default() });
    let mut browsers = Vec::new();
    for _ in 0..200 {
        browsers.push(pair.logged_in().await);
    }
    let (loads, ()) = pair
        .loads(async {
            for browser in &browsers {
                assert_eq!(browser.get("/read/color").await.text, "red");
            }
        })
        .await;
    // 64 KiB hold some 50 small sessions.
    assert!((100..200).contains(&loads), "{loads}");
}

#[tokio::test]
async fn a_local_store_needs_no_copies_and_no_version_cookie() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/login/alice").await;
    assert_eq!(browser.cookie(VERSION), None);
}
