//! The lifeboat: while the store is out, sessions go on wherever their users come, and what they did is in the store afterwards.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stayput::{
    Builder, Journal, Keyring, LifeboatKey, Merge, NearCache, OnWiped, Outage, Policy, SessionLimit, Subject,
    SystemRandom,
};
use stayput_core::Operation;
use stayput_stores::MemoryStore;
use stayput_testkit::{Fault, FaultyStore, ManualClock, TellingStore};

use crate::outage::back;
use crate::support::{ANONYMOUS, Browser, Reply, SESSION, Server};

pub(crate) const LIFEBOAT: &str = "__Host-stayput-lifeboat";

/// Several servers over one store, each with a journal.
pub(crate) struct Fleet {
    pub(crate) store: Arc<FaultyStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policy: Policy,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn policy() -> Policy {
    let lifeboat = vec![
        LifeboatKey::written("n", Merge::Add),
        LifeboatKey::written("color", Merge::IfUnchanged),
        LifeboatKey::read("name"),
    ];
    Policy { outage: Outage::Lifeboat, lifeboat, ..Policy::web() }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::with(policy())
    }

    pub(crate) fn with(policy: Policy) -> Self {
        let clock = Arc::new(ManualClock::default());
        let memory = MemoryStore::default().with_clock(clock.clone());
        let store = Arc::new(FaultyStore::new(Arc::new(memory)));
        let (keyring, dir) = (Arc::new(Keyring::generate(&SystemRandom)), tempfile::tempdir().unwrap());
        Self { store, clock, keyring, policy, dir }
    }

    /// The fleet over another store, which has nothing.
    pub(crate) fn wiped(self) -> Self {
        let memory = MemoryStore::default().with_clock(self.clock.clone());
        Self { store: Arc::new(FaultyStore::new(Arc::new(memory))), ..self }
    }

    pub(crate) async fn server(&self, name: &str) -> Server {
        self.server_with(name, |builder| builder.near_cache(NearCache::default())).await
    }

    pub(crate) async fn server_with(&self, name: &str, set: impl FnOnce(Builder) -> Builder) -> Server {
        let remote = Arc::new(TellingStore::new(self.store.clone()));
        let journal = journal(&self.dir.path().join(name)).await;
        Server::near(remote, self.store.clone(), self.clock.clone(), self.keyring.clone(), |builder| {
            set(builder.policy(self.policy.clone()).journal(journal))
        })
    }

    /// Takes the store out, and has the servers notice.
    pub(crate) async fn break_down(&self, servers: &[&Server]) {
        self.store.break_down(Fault::Before);
        for server in servers {
            while !server.sessions.store_is_out() {
                assert_eq!(server.browser().post("/count").await.status, 503);
            }
        }
    }

    pub(crate) async fn mend(&self, servers: &[&Server]) {
        self.store.mend();
        for server in servers {
            back(server).await;
        }
    }
}

/// The journal of a server, when the one before has let it go.
pub(crate) async fn journal(path: &Path) -> Journal {
    loop {
        match Journal::open(path) {
            Ok(journal) => return journal,
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A browser that is logged in as alice, who is called so, likes red and has counted to one.
pub(crate) async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    browser.post("/login/alice").await;
    for path in ["/set/name/Alice", "/set/color/red", "/set/secret/s3cret"] {
        assert_eq!(browser.post(path).await.status, 200);
    }
    assert_eq!(browser.post("/count").await.text, "1");
    // Nothing of the session is due any more.
    browser.get("/who").await;
    browser
}

#[tokio::test]
async fn a_server_that_never_saw_a_session_serves_it_from_its_lifeboat() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    let elsewhere = browser.at(&b);
    assert_eq!(elsewhere.get("/who").await.text, "alice");
    assert_eq!(elsewhere.get("/read/name").await.text, "Alice");
    assert_eq!(elsewhere.get("/read/color").await.text, "red");
    // What wasn't declared is not taken for something that isn't there.
    assert_eq!(elsewhere.get("/read/secret").await.status, 503);
    // Where there is a copy, all of it is there.
    assert_eq!(browser.get("/read/secret").await.text, "s3cret");
}

#[tokio::test]
async fn of_a_copy_and_a_lifeboat_the_newer_one_is_served() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    // Not what a lifeboat carries, so the one there is stays.
    let boat = browser.cookie(LIFEBOAT);
    assert_eq!(browser.post("/set/secret/newer").await.status, 200);
    assert_eq!(browser.cookie(LIFEBOAT), boat);
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.get("/read/secret").await.text, "newer");
}

#[tokio::test]
async fn a_server_without_copies_serves_from_lifeboats() {
    let fleet = Fleet::new();
    let server = fleet.server_with("a", |builder| builder.near_cache(None)).await;
    let browser = logged_in(&server).await;
    fleet.break_down(&[&server]).await;
    for _ in 0..10 {
        assert_eq!(browser.get("/who").await.text, "alice");
    }
    assert_eq!(browser.post("/count").await.text, "2");
    fleet.mend(&[&server]).await;
    assert_eq!(browser.get("/number/n").await.text, "2");
}

#[tokio::test]
async fn what_was_written_in_an_outage_is_in_the_store_afterwards_exactly_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for number in 2..=5 {
        assert_eq!(browser.post("/count").await.text, number.to_string());
        assert_eq!(browser.get("/number/n").await.text, number.to_string());
    }
    assert_eq!(browser.post("/set/color/blue").await.status, 200);
    assert_eq!(browser.get("/read/color").await.text, "blue");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(browser.get("/number/n").await.text, "5");
    assert_eq!(browser.at(&b).get("/number/n").await.text, "5");
    assert_eq!(browser.at(&b).get("/read/color").await.text, "blue");
    assert_eq!(browser.post("/count").await.text, "6");
    assert!(!a.take_events().iter().any(|event| event.starts_with("not_replayed")));
}

#[tokio::test]
async fn who_comes_first_in_an_outage_is_served_too_unless_it_is_unknown_whether_they_were() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let (browser, leaver) = (logged_in(&a).await, logged_in(&a).await);
    // What surely wasn't done is done here.
    fleet.store.plan(Operation::Replace, Fault::Before);
    assert_eq!(browser.post("/count").await.text, "2");
    assert_eq!(browser.get("/number/n").await.text, "2");
    // What may have been done would be done twice.
    for fault in [Fault::Before, Fault::After] {
        fleet.store.plan(Operation::Replace, Fault::After);
        fleet.store.plan(Operation::Replace, fault);
        assert_eq!(browser.post("/count").await.status, 503, "{fault:?}");
    }
    assert_eq!(browser.post("/count").await.text, "5");
    // A logout may be done twice.
    fleet.store.plan(Operation::Remove, Fault::After);
    assert_eq!(leaver.post("/logout").await.status, 200);
    let stolen = leaver.tab();
    assert_eq!(stolen.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn writes_of_several_servers_in_one_outage_all_count() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for number in 2..=7 {
        let server = if number % 2 == 0 { &a } else { &b };
        assert_eq!(browser.at(server).post("/count").await.text, number.to_string());
    }
    assert_eq!(browser.at(&b).post("/set/color/blue").await.status, 200);
    assert_eq!(browser.at(&a).post("/set/color/green").await.status, 200);
    assert_eq!(browser.at(&b).get("/read/color").await.text, "green");
    // Whichever is back first.
    fleet.mend(&[&a, &b]).await;
    browser.at(&b).get("/who").await;
    browser.at(&a).get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "7");
    assert_eq!(browser.at(&b).get("/read/color").await.text, "green");
}

#[tokio::test]
async fn what_another_server_has_yet_to_replay_is_not_gone_meanwhile() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    // The one that took it dies, and the store is back.
    let jar = browser.jar.clone();
    drop((a, browser));
    let browser = b.browser_with(jar);
    fleet.mend(&[&b]).await;
    assert_eq!(browser.get("/number/n").await.text, "2");
    // It isn't there again in time: what it took is in its journal, and not in the store.
    fleet.clock.advance(Duration::from_secs(5));
    assert_eq!(browser.get("/number/n").await.text, "1");
    let _a = fleet.server("a").await;
    while browser.get("/number/n").await.text != "2" {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fleet.clock.advance(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn parallel_writes_of_an_outage_all_count() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    let tabs: Vec<_> = (0..20).map(|_| browser.tab()).collect();
    let counted = tabs.iter().map(|tab| tab.post("/count"));
    for reply in futures_util::future::join_all(counted).await {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(browser.get("/number/n").await.text, "21");
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "21");
}

#[tokio::test]
async fn what_has_no_merge_is_refused_and_nothing_of_it_happens() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    for path in ["/set/name/Bob", "/set/secret/other", "/set/new/value", "/elevate"] {
        let reply = browser.post(path).await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{path}");
    }
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/read/name").await.text, "Alice");
    assert_eq!(browser.get("/read/secret").await.text, "s3cret");
}

#[tokio::test]
async fn a_write_that_does_not_fit_what_the_store_has_by_then_is_given_up_and_said() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    browser.at(&b).get("/who").await;
    // Only this server notices.
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/set/color/blue").await.status, 200);
    assert_eq!(browser.post("/count").await.text, "2");
    fleet.store.mend();
    browser.at(&b).tab().post("/set/color/green").await;
    back(&a).await;
    assert_eq!(browser.get("/read/color").await.text, "green");
    assert_eq!(browser.get("/number/n").await.text, "2");
    let lost: Vec<_> =
        a.take_events().into_iter().filter(|event| event.starts_with("not_replayed")).collect();
    assert_eq!(lost, ["not_replayed unmerged"]);
}

#[tokio::test]
async fn a_replay_whose_outcome_is_unknown_does_not_count_twice() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    for fault in [Fault::After, Fault::Before] {
        let before: u32 = browser.get("/number/n").await.text.parse().unwrap();
        fleet.break_down(&[&a]).await;
        browser.post("/count").await;
        // Both tries of the swap, and the load that would tell.
        fleet.store.plan(Operation::Replace, fault);
        fleet.store.plan(Operation::Replace, fault);
        fleet.store.plan(Operation::Load, Fault::Before);
        fleet.mend(&[&a]).await;
        while browser.get("/number/n").await.text != (before + 1).to_string() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fleet.mend(&[&a]).await;
        assert_eq!(browser.post("/count").await.text, (before + 2).to_string());
    }
    assert!(!a.take_events().iter().any(|event| event.starts_with("not_replayed")), "it is known to be done");
}

#[tokio::test]
async fn writes_and_logouts_survive_the_server_that_took_them() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let (browser, leaver) = (logged_in(&a).await, logged_in(&a).await);
    let stolen = leaver.tab();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/count").await.text, "2");
    assert_eq!(browser.post("/count").await.text, "3");
    assert_eq!(leaver.post("/logout").await.status, 200);
    let (jar, stolen_jar) = (browser.jar.clone(), stolen.jar.clone());
    drop((a, browser, leaver, stolen));
    // It is there again before the store is.
    let a = fleet.server("a").await;
    let (browser, stolen) = (a.browser_with(jar), a.browser_with(stolen_jar));
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "3");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/number/n").await.text, "3");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nothing of it is left to be done once more.
    let jar = browser.jar.clone();
    drop((a, browser, stolen));
    let a = fleet.server("a").await;
    assert_eq!(a.browser_with(jar).post("/count").await.text, "4");
}

#[tokio::test]
async fn a_logout_in_an_outage_counts_here_at_once_and_everywhere_when_the_store_is_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.break_down(&[&a, &b]).await;
    let reply = browser.post("/logout").await;
    assert_eq!(reply.status, 200);
    assert!(browser.cookie(SESSION).is_none() && reply.headers.contains_key("clear-site-data"));
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Another server can't know; until the store has confirmed nothing for too long.
    assert_eq!(stolen.at(&b).get("/who").await.text, "alice");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(stolen.get("/who").await.text, "nobody");
    while stolen.at(&b).get("/who").await.text != "nobody" {
        tokio::time::sleep(Duration::from_millis(1)).await;
        // It hears nothing from the other one.
        fleet.clock.advance(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn any_server_ends_what_its_user_ended_on_one_that_died() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let stolen = browser.tab();
    fleet.break_down(&[&a, &b]).await;
    browser.post("/logout").await;
    assert!(browser.cookie(LIFEBOAT).is_some_and(|value| value.starts_with("ended.")));
    // The first server is never seen again.
    let (browser, stolen) = (browser.at(&b), stolen.at(&b));
    browser.get("/who").await;
    fleet.store.mend();
    drop(a);
    back(&b).await;
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(browser.cookie(LIFEBOAT), None);
    assert_eq!(stolen.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn any_server_ends_all_that_may_have_been_meant_by_a_logout_on_one_that_died() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let (browser, other) = (logged_in(&a).await, a.browser());
    other.post("/set/color/green").await;
    let [session, anonymous] = [browser.cookie(SESSION), other.cookie(ANONYMOUS)].map(Option::unwrap);
    // Which of the two is alive nobody knows who has neither a copy nor a lifeboat of them.
    let both = browser.sending(&[(SESSION, &*session), (ANONYMOUS, &*anonymous)]);
    fleet.break_down(&[&a, &b]).await;
    let stranger = both.at(&b);
    assert_eq!(stranger.post("/logout").await.status, 200);
    assert!(stranger.cookie(LIFEBOAT).is_some_and(|value| value.starts_with("ended.")));
    // The server that took it is never seen again.
    let c = fleet.server("c").await;
    let stranger = stranger.at(&c);
    drop((both, b));
    fleet.store.mend();
    back(&c).await;
    stranger.get("/who").await;
    assert_eq!(stranger.cookie(LIFEBOAT), None);
    assert_eq!(other.at(&c).get("/read/color").await.text, "");
    assert_eq!(browser.at(&c).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn without_a_journal_nobody_logs_out_while_the_store_is_out() {
    let fleet = Fleet::new();
    let remote = Arc::new(TellingStore::new(fleet.store.clone()));
    let policy = fleet.policy.clone();
    let server =
        Server::near(remote, fleet.store.clone(), fleet.clock.clone(), fleet.keyring.clone(), |builder| {
            builder.policy(policy)
        });
    let browser = logged_in(&server).await;
    fleet.break_down(&[]).await;
    let reply = browser.post("/logout").await;
    assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn nothing_adrift_makes_a_session_live_longer_than_max_age() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    fleet.break_down(&[&a, &b]).await;
    for minute in 0..14 {
        assert_eq!(browser.at(&b).get("/who").await.text, "alice", "{minute}");
        assert_eq!(browser.at(&b).post("/count").await.status, 200, "{minute}");
        assert_eq!(browser.post("/count").await.status, 200, "{minute}");
        fleet.clock.advance(Duration::from_mins(1));
    }
    fleet.clock.advance(Duration::from_mins(1));
    let cookie = browser.cookie(SESSION);
    for server in [&a, &b] {
        for reply in [browser.at(server).get("/who").await, browser.at(server).post("/count").await] {
            assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0));
        }
    }
    assert_eq!(browser.cookie(SESSION), cookie);
    fleet.mend(&[&a, &b]).await;
    // What was done before is there.
    browser.get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "29");
}

#[tokio::test]
async fn lifeboats_are_sealed_anew_while_their_users_are_active_and_not_with_every_request() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = logged_in(&a).await;
    let boats = |reply: &Reply| reply.cookies.iter().filter(|cookie| cookie.starts_with(LIFEBOAT)).count();
    for _ in 0..10 {
        assert_eq!(boats(&browser.get("/who").await), 0);
    }
    // A write of something else leaves it as it is.
    assert_eq!(boats(&browser.post("/set/secret/new").await), 0);
    assert_eq!(boats(&browser.post("/set/color/blue").await), 1);
    assert_eq!(boats(&browser.post("/count").await), 1);
    fleet.clock.advance(Duration::from_mins(4));
    assert_eq!(boats(&browser.get("/who").await), 0);
    fleet.clock.advance(Duration::from_mins(1));
    assert_eq!(boats(&browser.get("/who").await), 1);
    fleet.clock.advance(Duration::from_mins(11));
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.at(&fleet.server("b").await).get("/read/color").await.text, "blue");
}

#[tokio::test]
async fn a_lifeboat_is_worth_nothing_without_its_sessions_cookie_or_with_anothers() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let (alice, bob) = (logged_in(&a).await, a.browser());
    bob.post("/login/bob").await;
    let (boat, cookie) = (alice.cookie(LIFEBOAT).unwrap(), alice.cookie(SESSION).unwrap());
    fleet.break_down(&[&a, &b]).await;
    let only = alice.sending(&[(LIFEBOAT, &boat)]).at(&b);
    assert_eq!(only.get("/who").await.text, "nobody");
    let anothers = alice.sending(&[(LIFEBOAT, &bob.cookie(LIFEBOAT).unwrap()), (SESSION, &cookie)]).at(&b);
    assert_eq!(anothers.get("/who").await.status, 503);
    let mut changed = boat.into_bytes();
    for place in 0..changed.len() {
        let kept = changed[place];
        changed[place] = if kept == b'1' { b'2' } else { b'1' };
        let value = String::from_utf8(changed.clone()).unwrap();
        let reply = alice.sending(&[(LIFEBOAT, &value), (SESSION, &cookie)]).at(&b).get("/who").await;
        assert_eq!((reply.status.as_u16(), reply.cookies.len()), (503, 0), "{place}");
        changed[place] = kept;
    }
}

#[tokio::test]
async fn a_login_in_an_outage_is_one_everywhere_when_the_store_is_back() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = a.browser();
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.at(&b).get("/who").await.text, "alice");
    assert_eq!(browser.post("/count").await.text, "1");
    assert_eq!(browser.at(&b).post("/count").await.text, "2");
    fleet.mend(&[&a, &b]).await;
    assert_eq!(browser.at(&b).get("/who").await.text, "alice");
    browser.get("/who").await;
    assert_eq!(browser.at(&b).get("/number/n").await.text, "2");
    assert_eq!(browser.post("/set/secret/known").await.status, 200);
    assert_eq!(a.sessions.list(&Subject::new("alice")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_session_born_in_an_outage_lives_on_though_its_browser_keeps_the_lifeboat_of_its_birth() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    // It is put into the store, and the answer that says so is lost.
    assert_eq!(browser.tab().get("/who").await.text, "alice");
    fleet.clock.advance(fleet.policy.max_age + Duration::from_secs(1));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_session_born_in_an_outage_and_ended_does_not_come_back() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    let browser = a.browser();
    fleet.break_down(&[&a]).await;
    browser.post("/login/alice").await;
    let stolen = browser.tab();
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/logout").await.status, 200);
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nor one that nobody presented in time, nor one of a user who was disabled when the store was back.
    for disables in [false, true] {
        fleet.break_down(&[&a]).await;
        let late = a.browser();
        assert_eq!(late.post("/login/alice").await.status, 200);
        fleet.mend(&[&a]).await;
        if disables {
            a.sessions.end_all(&Subject::new("alice")).await.unwrap();
        } else {
            fleet.clock.advance(Duration::from_mins(15));
        }
        assert_eq!(late.get("/who").await.text, "nobody", "{disables}");
    }
}

#[tokio::test]
async fn a_session_born_in_an_outage_keeps_the_limit() {
    let one = std::num::NonZeroU32::MIN;
    let session_limit = Some(SessionLimit { most: one, overflow: stayput::Overflow::EndOldest });
    let fleet = Fleet::with(Policy { session_limit, ..policy() });
    let a = fleet.server("a").await;
    let first = logged_in(&a).await;
    fleet.break_down(&[&a]).await;
    let second = a.browser();
    assert_eq!(second.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    assert_eq!(second.get("/who").await.text, "alice");
    assert_eq!(first.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_session_born_in_an_outage_is_counted_in_even_if_the_store_fails_in_the_middle_of_that() {
    let fleet = Fleet::new();
    let a = fleet.server("a").await;
    fleet.break_down(&[&a]).await;
    let browser = a.browser();
    assert_eq!(browser.post("/login/alice").await.status, 200);
    fleet.mend(&[&a]).await;
    fleet.store.plan(Operation::Admit, Fault::Before);
    browser.get("/who").await;
    fleet.mend(&[&a]).await;
    assert_eq!(browser.get("/who").await.text, "alice");
    let admitted = fleet.store.count(Operation::Admit);
    assert!(admitted >= 2, "it was tried again");
    // And then no more.
    for _ in 0..5 {
        assert_eq!(browser.get("/who").await.text, "alice");
    }
    assert_eq!(fleet.store.count(Operation::Admit), admitted);
}

#[tokio::test]
async fn a_wiped_store_logs_out_unless_it_is_to_restore() {
    let fleet = Fleet::new();
    let browser = logged_in(&fleet.server("a").await).await;
    let fleet = fleet.wiped();
    let reply = browser.at(&fleet.server("b").await).get("/who").await;
    assert_eq!((reply.text.as_str(), reply.cookies.len()), ("nobody", 0));
}

#[tokio::test]
async fn sessions_of_a_wiped_store_are_restored_once_if_the_application_agrees() {
    let fleet = Fleet::with(Policy { on_wiped: OnWiped::Restore, ..policy() });
    let set = |builder: Builder| builder.readmit(|subject, _| async move { subject.as_str() == "alice" });
    let before = fleet.server_with("a", set).await;
    let (alice, bob) = (logged_in(&before).await, before.browser());
    bob.post("/login/bob").await;
    bob.get("/who").await;
    let (stolen, late) = (alice.tab(), alice.tab());
    let fleet = fleet.wiped();
    let after = fleet.server_with("b", set).await;
    assert_eq!(bob.at(&after).get("/who").await.text, "nobody");
    let alice = alice.at(&after);
    assert_eq!(alice.get("/who").await.text, "alice");
    assert_eq!(alice.get("/read/color").await.text, "red");
    assert_eq!(alice.post("/count").await.text, "2");
    assert!(after.take_events().contains(&"restored".to_owned()));
    // Who ends it ends it.
    assert_eq!(alice.post("/logout").await.status, 200);
    assert_eq!(stolen.at(&after).get("/who").await.text, "nobody");
    let fleet = fleet.wiped();
    fleet.clock.advance(Duration::from_mins(15));
    assert_eq!(late.at(&fleet.server_with("c", set).await).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn a_session_that_was_ended_is_not_restored_from_its_lifeboat() {
    let fleet = Fleet::with(Policy { on_wiped: OnWiped::Restore, ..policy() });
    let server = fleet.server_with("a", |builder| builder.readmit(|_, _| async { true })).await;
    let browser = logged_in(&server).await;
    let stolen = browser.tab();
    assert_eq!(browser.post("/logout").await.status, 200);
    assert_eq!(stolen.get("/who").await.text, "nobody");
    // Nor one whose record is gone from a store that is the same.
    let other = fleet.server_with("b", |builder| builder.readmit(|_, _| async { true })).await;
    assert_eq!(stolen.at(&other).get("/who").await.text, "nobody");
}

#[tokio::test]
async fn values_that_have_no_room_are_not_taken_for_missing() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.server("a").await, fleet.server("b").await);
    let browser = logged_in(&a).await;
    let long = "x".repeat(2000);
    assert_eq!(browser.post(&format!("/set/color/{long}")).await.status, 200);
    assert!(browser.cookie(LIFEBOAT).unwrap().len() <= 2048);
    fleet.break_down(&[&a, &b]).await;
    assert_eq!(browser.at(&b).get("/read/name").await.text, "Alice");
    assert_eq!(browser.at(&b).get("/read/color").await.status, 503);
    assert_eq!(browser.at(&b).post("/set/color/blue").await.status, 503);
}

#[tokio::test]
async fn what_the_builder_is_not_given_is_named() {
    let lifeboat = vec![LifeboatKey::written("cart", Merge::Own), LifeboatKey::read("cart")];
    let policy = Policy { lifeboat, on_wiped: OnWiped::Restore, ..policy() };
    let built = stayput::Sessions::builder(MemoryStore::default()).policy(policy.clone()).build();
    assert!(built.unwrap_err().mistakes()[0].starts_with("lifeboat must name each key once"));
    let policy = Policy { lifeboat: policy.lifeboat[..1].to_vec(), ..policy };
    let built = stayput::Sessions::builder(MemoryStore::default()).policy(policy).build();
    let mistakes = built.unwrap_err().mistakes().to_vec();
    assert!(
        mistakes[0].contains("Builder::merge") && mistakes[1].contains("Builder::readmit"),
        "{mistakes:?}"
    );
}
