//! What requests with an old id, or that began before their session ended, may and may not do; and what a login or
//! elevation leaves behind that does not go through. Each of these was wrong once.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{CookiePolicy, Overflow, Policy, Remember, Session, SessionLimit, Subject};
use stayput_core::Operation;
use stayput_testkit::Fault;
use tokio::sync::Notify;

use crate::support::{ANONYMOUS, Browser, SESSION, SPARE, Server};

fn limited(most: u32) -> Policy {
    let most = NonZeroU32::new(most).unwrap();
    Policy { session_limit: Some(SessionLimit { most, overflow: Overflow::EndOldest }), ..Policy::web() }
}

async fn logged_in(server: &Server) -> Browser {
    let browser = server.browser();
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    browser
}

/// Another tab: the cookie as it is now, with a jar of its own.
fn tab(browser: &Browser) -> Browser {
    let cookie = browser.cookie(SESSION).unwrap();
    browser.sending(&[(SESSION, &cookie)])
}

/// Loads the session, waits to be told, then does what it is for.
fn waiting<F, Fut>(server: &Server, what: F) -> (Server, Arc<Notify>, Arc<Notify>)
where
    F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), stayput::Error>> + Send + 'static,
{
    let (loaded, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (l, g) = (loaded.clone(), go.clone());
    let server = server.handling(move |session: Session| {
        let (l, g, what) = (l.clone(), g.clone(), what.clone());
        async move {
            session.subject().await?;
            l.notify_one();
            g.notified().await;
            what(session).await
        }
    });
    (server, loaded, go)
}

#[tokio::test]
async fn an_elevation_with_the_id_left_behind_ends_nobodys_session() {
    let server = Server::with_policy(limited(1));
    let browser = logged_in(&server).await;
    let second_click = tab(&browser);
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    assert_eq!(second_click.post("/elevate").await.status, StatusCode::CONFLICT);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn an_elevation_that_does_not_go_through_ends_no_other_device() {
    let server = Server::with_policy(limited(2));
    let phone = logged_in(&server).await;
    let browser = logged_in(&server).await;
    let second_click = tab(&browser);
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    assert_eq!(second_click.post("/elevate").await.status, StatusCode::CONFLICT);
    assert_eq!(
        (phone.get("/who").await.text, browser.get("/who").await.text),
        ("alice".into(), "alice".into())
    );
}

#[tokio::test]
async fn of_two_parallel_elevations_one_goes_through() {
    let server = Server::with_policy(limited(1));
    let browser = logged_in(&server).await;
    let (one, two) = (tab(&browser), tab(&browser));
    // The first one comes to its last step, the extension.
    server.store.plan(Operation::Replace, Fault::Pause);
    server.store.plan(Operation::Replace, Fault::Pause);
    let first = tokio::spawn({
        let one = one.clone();
        async move { one.post("/elevate").await.status }
    });
    server.store.paused().await;
    server.store.resume();
    server.store.paused().await;
    let second = two.post("/elevate").await.status;
    server.store.resume();
    let first = first.await.unwrap();
    assert_eq!([first, second], [StatusCode::OK, StatusCode::CONFLICT]);
    server.clock.advance(Duration::from_secs(31));
    let who = [one.get("/who").await.text, two.get("/who").await.text];
    assert!(who.contains(&"alice".to_owned()), "{who:?}");
}

#[tokio::test]
async fn an_elevation_of_a_session_that_was_ended_ends_nobodys() {
    let server = Server::with_policy(limited(2));
    let thief = logged_in(&server).await;
    let owner = logged_in(&server).await;
    let phone_server = server.clone();
    let (slow, loaded, go) = waiting(&server, |session: Session| async move { session.elevate().await });
    let under_way = tokio::spawn({
        let thief = thief.at(&slow);
        async move { thief.post("/own").await.status }
    });
    loaded.notified().await;
    let others = server.handling(|session: Session| async move { session.end_others().await.map(|_| ()) });
    assert_eq!(owner.at(&others).post("/own").await.status, StatusCode::OK);
    let phone = logged_in(&phone_server).await;
    go.notify_one();
    assert_eq!(under_way.await.unwrap(), StatusCode::CONFLICT);
    assert_eq!(
        (owner.get("/who").await.text, phone.get("/who").await.text),
        ("alice".into(), "alice".into())
    );
}

#[tokio::test]
async fn a_store_that_fails_once_in_a_login_costs_nobody_their_session() {
    let server = Server::with_policy(limited(1));
    let phone = logged_in(&server).await;
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    server.store.plan(Operation::Replace, Fault::Before);
    // By then the limit has ended the other session for this one, so giving up would leave none.
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(phone.get("/who").await.text, "nobody");
}

#[tokio::test]
async fn end_others_after_a_parallel_elevation_does_not_end_its_successor() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let (slow, loaded, go) =
        waiting(&server, |session: Session| async move { session.end_others().await.map(|_| ()) });
    let under_way = tokio::spawn({
        let tab = tab(&browser).at(&slow);
        async move { tab.post("/own").await.status }
    });
    loaded.notified().await;
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    go.notify_one();
    let status = under_way.await.unwrap();
    assert_eq!((status, browser.get("/who").await.text), (StatusCode::CONFLICT, "alice".into()));
}

#[tokio::test]
async fn end_others_during_a_parallel_elevation_leaves_one_of_the_two() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let (one, two) = (tab(&browser), tab(&browser));
    server.store.plan(Operation::Replace, Fault::Pause);
    let elevation = tokio::spawn({
        let one = one.clone();
        async move { one.post("/elevate").await.status }
    });
    server.store.paused().await;
    let others = server.handling(|session: Session| async move { session.end_others().await.map(|_| ()) });
    let ended = two.at(&others).post("/own").await.status;
    server.store.resume();
    println!("{ended} {}", elevation.await.unwrap());
    server.clock.advance(Duration::from_secs(31));
    let who = [one.get("/who").await.text, two.get("/who").await.text];
    assert!(who.contains(&"alice".to_owned()), "{who:?}");
}

#[tokio::test]
async fn who_was_ended_ends_nobody_else_however_long_their_request_goes_on() {
    let server = Server::new();
    let thief = logged_in(&server).await;
    let owner = logged_in(&server).await;
    let (slow, loaded, go) =
        waiting(&server, |session: Session| async move { session.end_others().await.map(|_| ()) });
    let under_way = tokio::spawn({
        let thief = thief.at(&slow);
        async move { thief.post("/own").await.status }
    });
    loaded.notified().await;
    let others = server.handling(|session: Session| async move { session.end_others().await.map(|_| ()) });
    assert_eq!(owner.at(&others).post("/own").await.status, StatusCode::OK);
    go.notify_one();
    let _ = under_way.await.unwrap();
    assert_eq!(owner.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_logout_with_the_id_left_behind_ends_the_session_or_leaves_its_cookie() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    let old = browser.cookie(SESSION).unwrap();
    browser.post("/elevate").await;
    let new = browser.cookie(SESSION).unwrap();
    // A tab that sent its request before the elevation's answer came: same jar for the answer.
    let reply = browser.sending(&[(SESSION, &old)]).post("/logout").await;
    let deletes = reply.cookies.iter().any(|c| c.starts_with(SESSION) && c.contains("Max-Age=0"));
    let lives = browser.sending(&[(SESSION, &new)]).get("/who").await.text == "alice";
    println!(
        "status {} deletes the browser's cookie: {deletes}; session lives on in the store: {lives}",
        reply.status
    );
    assert!(!(deletes && lives));
}

#[tokio::test]
async fn a_logout_of_an_anonymous_session_does_not_delete_the_cookie_of_a_login() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let anonymous = browser.cookie(ANONYMOUS).unwrap();
    browser.post("/login/alice").await;
    let reply = browser.sending(&[(ANONYMOUS, &anonymous)]).post("/logout").await;
    let deletes = reply.cookies.iter().any(|c| c.starts_with(SESSION) && c.contains("Max-Age=0"));
    let lives = browser.get("/who").await.text == "alice";
    assert!(!(deletes && lives), "logged out in the browser, alive in the store");
}

#[tokio::test]
async fn a_store_that_fails_in_the_last_step_of_an_elevation_logs_nobody_out() {
    let server = Server::new();
    let browser = logged_in(&server).await;
    server.store.plan(Operation::Replace, Fault::Pause);
    server.store.plan(Operation::Replace, Fault::Before);
    let elevation = tokio::spawn({
        let browser = browser.clone();
        async move { browser.post("/elevate").await.status }
    });
    server.store.paused().await;
    server.store.resume();
    assert_eq!(elevation.await.unwrap(), StatusCode::OK);
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_move_noted_after_a_long_request_does_not_move_the_deadline_back() {
    let server = Server::new();
    let browser = server.browser().with("user-agent", "Firefox");
    browser.post("/login/alice").await;
    server.clock.advance(Duration::from_mins(1));
    let (slow, loaded, go) = waiting(&server, |_| async move { Ok(()) });
    let upload = tokio::spawn({
        let tab = tab(&browser).with("user-agent", "curl").at(&slow);
        async move { tab.post("/own").await.status }
    });
    loaded.notified().await; // active at 0:01
    server.clock.advance(Duration::from_mins(13)); // 0:14
    assert_eq!(browser.get("/who").await.text, "alice"); // touched: lives until 0:44
    go.notify_one();
    assert_eq!(upload.await.unwrap(), StatusCode::OK);
    server.clock.advance(Duration::from_mins(18)); // 0:32: 18 minutes after the last request
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn one_unreadable_record_does_not_hide_a_users_other_sessions() {
    let server = Server::new();
    let (_one, _two) = (logged_in(&server).await, logged_in(&server).await);
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert!(!server.sessions.list(&Subject::new("alice")).await.unwrap().is_empty());
}

#[test]
fn a_touch_interval_longer_than_the_remembered_idle_timeout_is_a_mistake() {
    let policy = Policy {
        touch_interval: Some(Duration::from_mins(10)),
        remember: Some(Remember {
            idle_timeout: Duration::from_mins(5),
            absolute_timeout: Duration::from_hours(24),
        }),
        ..Policy::web()
    };
    assert!(policy.validate().is_err());
}

#[test]
fn a_grace_of_nothing_and_a_renewal_at_each_request_is_a_mistake() {
    let policy = Policy { grace: Duration::ZERO, renewal_interval: Duration::ZERO, ..Policy::web() };
    assert!(policy.validate().is_err());
}

#[tokio::test]
async fn no_cookie_lives_longer_than_400_days() {
    let server = Server::with_policy(Policy {
        absolute_timeout: Duration::from_hours(400 * 24),
        cookie: CookiePolicy::default().persistent(),
        ..Policy::web()
    });
    let reply = server.browser().post("/login/alice").await;
    let cookie = reply.cookies.iter().find(|c| c.starts_with(SESSION)).unwrap();
    let age = cookie.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    assert!(age.parse::<u64>().unwrap() <= 400 * 86_400, "{age}");
}

#[tokio::test]
async fn a_login_after_a_logout_in_one_request_keeps_its_cookie() {
    let server = Server::with_policy(Policy {
        cookie: CookiePolicy::default().clear_all_at_logout(),
        ..Policy::web()
    });
    let browser = logged_in(&server).await;
    let switch = server.handling(|session: Session| async move {
        session.logout().await?;
        session.login(Subject::new("bob")).await
    });
    let reply = browser.at(&switch).post("/own").await;
    let clears = reply.headers.get("clear-site-data").map(|v| v.to_str().unwrap().to_owned());
    assert!(browser.cookie(SESSION).is_some());
    assert!(!clears.clone().unwrap_or_default().contains("cookies"), "{clears:?}");
}

#[tokio::test]
async fn a_client_that_takes_turns_among_three_addresses_does_not_cost_a_write_and_an_event_each_time() {
    let server = Server::new();
    let browser = server.browser().from("192.0.2.1");
    browser.post("/login/alice").await;
    server.take_events();
    for n in 0..30 {
        browser.from(["192.0.2.1", "192.0.2.2", "192.0.2.3"][n % 3]).get("/who").await;
    }
    let moves = server.take_events().len();
    assert!(moves < 10, "{moves} events for 30 requests");
}

#[tokio::test]
async fn a_slow_handler_hands_out_no_cookie_that_was_renewed_meanwhile() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    let (interval, grace) = (server.sessions.policy().renewal_interval, server.sessions.policy().grace);
    let (slow, loaded, go) = waiting(&server, |_| async { Ok(()) });
    let old = tab(&browser);
    server.clock.advance(interval);
    browser.get("/who").await;
    let request = tokio::spawn(async move { (old.at(&slow).post("/own").await, old) });
    loaded.notified().await;
    browser.get("/who").await;
    server.clock.advance(interval);
    browser.get("/who").await;
    browser.get("/who").await;
    server.clock.advance(grace);
    go.notify_one();
    let (reply, old) = request.await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(old.cookie(SESSION), browser.cookie(SESSION), "it is given the newest of now");
}

#[tokio::test]
async fn a_session_does_not_end_while_its_handler_is_at_work() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    let (slow, loaded, go) = waiting(&server, |_| async { Ok(()) });
    server.clock.advance(server.sessions.policy().idle_timeout.saturating_sub(Duration::from_secs(1)));
    let request = tokio::spawn({
        let browser = browser.clone();
        async move { browser.at(&slow).post("/own").await }
    });
    loaded.notified().await;
    server.clock.advance(Duration::from_secs(2));
    go.notify_one();
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn an_elevation_knows_its_own_closing_whose_answers_were_lost() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    for _ in 0..3 {
        server.store.plan(Operation::Replace, Fault::After);
    }
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_login_takes_nothing_over_from_a_session_that_ended_meanwhile() {
    let server = Server::new();
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let other_tab = browser.sending(&[(ANONYMOUS, &browser.cookie(ANONYMOUS).unwrap())]);
    let (slow, loaded, go) =
        waiting(&server, |session| async move { session.login(Subject::new("alice")).await });
    let request = tokio::spawn({
        let browser = browser.clone();
        async move { browser.at(&slow).post("/own").await }
    });
    loaded.notified().await;
    assert_eq!(other_tab.post("/logout").await.status, StatusCode::OK);
    go.notify_one();
    assert_eq!(request.await.unwrap().status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.get("/read/cart").await.text, "");
}

#[tokio::test]
async fn an_answer_from_before_a_login_that_comes_after_it_logs_nobody_out() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    // Two tabs come back when a renewal is due; one of their answers is long on its way.
    server.clock.advance(server.sessions.policy().renewal_interval);
    let late = tab(&browser);
    assert_eq!(late.get("/who").await.cookies.len(), 1);
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    let of_elevation = browser.cookie(SESSION).unwrap();
    browser.jar.lock().unwrap().insert(SESSION.to_owned(), late.cookie(SESSION).unwrap());

    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.cookie(SESSION).unwrap(), of_elevation, "it is put right");
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(browser.post("/logout").await.status, StatusCode::OK);
    assert!(browser.jar.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_from_before_two_logins_that_comes_after_both_logs_nobody_out() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    server.clock.advance(server.sessions.policy().renewal_interval);
    let late = tab(&browser);
    assert_eq!(late.get("/who").await.cookies.len(), 1);
    for path in ["/login/alice", "/elevate", "/elevate"] {
        assert_eq!(browser.post(path).await.status, StatusCode::OK);
    }
    let of_elevation = browser.cookie(SESSION).unwrap();
    browser.jar.lock().unwrap().insert(SESSION.to_owned(), late.cookie(SESSION).unwrap());
    // What puts that right is late itself, and another elevation comes first.
    let right = browser.tab();
    assert_eq!(right.get("/who").await.text, "alice");
    assert_eq!(right.cookie(SESSION).unwrap(), of_elevation);
    assert_eq!(browser.post("/elevate").await.status, StatusCode::OK);
    for before in [late.cookie(SESSION), right.cookie(SESSION)] {
        let back = browser.tab();
        back.jar.lock().unwrap().insert(SESSION.to_owned(), before.unwrap());
        server.clock.advance(Duration::from_mins(1));
        assert_eq!(back.get("/who").await.text, "alice");
    }
}

#[tokio::test]
async fn a_spare_cookie_counts_beside_few_sessions_and_none_of_long_ago() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    let mut before = Vec::new();
    for _ in 0..6 {
        before.push(browser.cookie(SESSION).unwrap());
        browser.post("/elevate").await;
    }
    let with = |session: &str| {
        let spare = browser.cookie(SPARE).unwrap();
        browser.sending(&[(SESSION, session), (SPARE, &spare)])
    };
    server.clock.advance(10 * server.sessions.policy().grace);
    let mut said = Vec::new();
    for session in &before {
        said.push(with(session).get("/who").await.text);
    }
    assert_eq!(said, ["nobody", "nobody", "alice", "alice", "alice", "alice"]);
    let last = browser.cookie(SESSION).unwrap();
    browser.post("/elevate").await;
    server.clock.advance(server.sessions.policy().grace);
    assert_eq!(with(&before[5]).get("/who").await.text, "nobody");
    assert_eq!(with(&last).get("/who").await.text, "alice");
}

/// Two tabs come with the cookie from before the elevation and the spare one; one of them is answered just before a renewal.
#[tokio::test]
async fn who_comes_with_the_spare_cookie_is_given_no_cookie_that_a_renewal_may_overtake() {
    let server = Server::with_policy(Policy::web());
    let grace = server.sessions.policy().grace;
    let browser = logged_in(&server).await;
    let before = browser.cookie(SESSION).unwrap();
    browser.post("/elevate").await;
    let spare = browser.cookie(SPARE).unwrap();
    let tab = || browser.sending(&[(SESSION, &before), (SPARE, &spare)]);
    // By a former key it may be renewed after ten graces.
    server.clock.advance(9 * grace);
    let late = tab().get("/who").await;
    assert_eq!((&*late.text, late.cookies.len()), ("alice", 0));
    server.clock.advance(grace);
    let renewed = tab().get("/who").await;
    assert_eq!((&*renewed.text, renewed.cookies.len()), ("alice", 1));
    browser.keep(&renewed.cookies[0]);
    assert_eq!(browser.get("/who").await.text, "alice");
    server.clock.advance(grace);
    assert_eq!(browser.get("/who").await.text, "alice");
}

#[tokio::test]
async fn a_session_cookie_under_the_other_name_opens_nothing() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server).await;
    let moved = browser.sending(&[(ANONYMOUS, &browser.cookie(SESSION).unwrap())]);
    assert_eq!(moved.get("/who").await.text, "nobody");
    // Nor does the spare one by itself, under another name, or beside another's session cookie.
    let before = browser.cookie(SESSION).unwrap();
    browser.post("/elevate").await;
    server.clock.advance(Duration::from_mins(1));
    let spare = browser.cookie(SPARE).unwrap();
    let other = logged_in(&server).await;
    let others = other.cookie(SESSION).unwrap();
    other.post("/logout").await;
    for cookies in [
        &[(SPARE, &*spare)][..],
        &[(SESSION, &spare)],
        &[(ANONYMOUS, &spare)],
        &[(SESSION, &others), (SPARE, &spare)],
    ] {
        assert_eq!(browser.sending(cookies).get("/who").await.text, "nobody", "{cookies:?}");
    }
    assert_eq!(browser.sending(&[(SESSION, &before), (SPARE, &spare)]).get("/who").await.text, "alice");
}
