//! Reads of the store that several requests share.

use std::time::Duration;

use stayput::Subject;
use stayput_core::Operation;
use stayput_testkit::Fault;

use super::{Pair, VERSION, heard, read};

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
    let slow = pair.slow_read(&browser).await;
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
        let slow = pair.slow_read(&browser).await;
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
    let slow = pair.slow_read(&browser).await;
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
