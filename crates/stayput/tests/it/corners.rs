//! Corners that an adversary's review found wrong: spare cookies, slow and parked handlers, logins over what can't be read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use axum::http::StatusCode;
use stayput::{Activity, CookiePolicy, Policy, Session, Sessions, Subject};
use stayput_core::Operation;
use stayput_stores::MemoryStore;
use stayput_testkit::Fault;

use crate::support::{ANONYMOUS, Browser, SESSION, SPARE, Server, keyring};

async fn logged_in(server: &Server, user: &str) -> Browser {
    let browser = server.browser();
    assert_eq!(browser.post(&format!("/login/{user}")).await.status, StatusCode::OK);
    browser
}

/// Sibling domains may plant cookies beside the victim's, here: what is doubled is to count for nothing.
#[tokio::test]
async fn a_planted_spare_cookie_does_not_turn_a_logged_in_user_into_the_attacker() {
    let cookie = CookiePolicy::default().danger_without_host_prefix();
    let server = Server::with_policy(Policy { cookie, ..Policy::web() });
    let (session, spare_name) = ("__Secure-stayput-session", "__Secure-stayput-spare");
    let mallory = logged_in(&server, "mallory").await;
    mallory.post("/elevate").await;
    let spare = mallory.cookie(spare_name).unwrap();
    let alice = logged_in(&server, "alice").await.cookie(session).unwrap();
    // A duplicate that is worth nothing takes the victim's own session cookie out.
    let victim =
        server.browser().with("cookie", &format!("{session}={alice}; {session}=x; {spare_name}={spare}"));
    let reply = victim.get("/who").await;
    assert_eq!((&*reply.text, &reply.cookies[..]), ("nobody", &[][..]));
}

#[tokio::test]
async fn a_planted_spare_cookie_beside_an_expired_session_logs_nobody_in() {
    let cookie = CookiePolicy::default().danger_without_host_prefix();
    let server = Server::with_policy(Policy { cookie, ..Policy::web() });
    let (session, spare_name) = ("__Secure-stayput-session", "__Secure-stayput-spare");
    let alice = logged_in(&server, "alice").await.cookie(session).unwrap();
    server.clock.advance(Duration::from_mins(31));
    let mallory = logged_in(&server, "mallory").await;
    mallory.post("/elevate").await;
    let spare = mallory.cookie(spare_name).unwrap();
    let planted = server.browser().with("cookie", &format!("{session}={alice}; {spare_name}={spare}"));
    let reply = planted.get("/who").await;
    assert_eq!((&*reply.text, &reply.cookies[..]), ("nobody", &[][..]));
}

#[tokio::test]
async fn a_late_answer_after_a_change_of_user_in_one_request_logs_nobody_out() {
    let server = Server::with_policy(Policy::web());
    let switch = server.handling(|session: Session| async move {
        session.logout().await?;
        session.login(Subject::new("bob")).await
    });
    let browser = logged_in(&server, "alice").await;
    server.clock.advance(server.sessions.policy().renewal_interval);
    let late = browser.tab();
    assert_eq!(late.get("/who").await.cookies.len(), 1);
    assert_eq!(browser.at(&switch).post("/own").await.status, StatusCode::OK);
    browser.jar.lock().unwrap().insert(SESSION.to_owned(), late.cookie(SESSION).unwrap());
    assert_eq!(browser.get("/who").await.text, "bob");
}

#[test]
fn a_grace_shorter_than_two_store_calls_is_a_mistake() {
    for grace in [Duration::ZERO, Policy::web().store_timeout] {
        let mistakes = Policy { grace, ..Policy::web() }.validate().unwrap_err();
        assert!(mistakes.mistakes()[0].starts_with("grace must be at least"), "{mistakes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_lookup_failed_does_not_look_again_after_its_handler() {
    let server = Server::with_policy(Policy { activity: Activity::Any, ..Policy::web() });
    let browser = logged_in(&server, "alice").await;
    server.store.plan(Operation::Load, Fault::Hang);
    server.store.plan(Operation::Load, Fault::Hang);
    let began = tokio::time::Instant::now();
    assert_eq!(browser.get("/who").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let (took, limit) = (began.elapsed(), server.sessions.policy().store_timeout);
    assert!(took < limit + Duration::from_secs(1), "{took:?} with a store_timeout of {limit:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_its_handler_left_under_way_does_not_hold_the_answer_up() {
    type Parked = Pin<Box<dyn Future<Output = ()> + Send>>;
    let server = Server::with_policy(Policy { activity: Activity::Any, ..Policy::web() });
    let browser = logged_in(&server, "alice").await;
    // As an event stream does that is polled when the head has left.
    let parked: Arc<Mutex<Option<Parked>>> = Arc::default();
    let (body, store) = (Arc::clone(&parked), Arc::clone(&server.store));
    let stream = server.handling(move |session: Session| {
        let (body, store) = (Arc::clone(&body), Arc::clone(&store));
        async move {
            let mut ended: Parked = Box::pin(async move { drop(session.ended().await) });
            let first = std::future::poll_fn(|cx| Poll::Ready(ended.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            *body.lock().unwrap() = Some(ended);
            store.resume(); // The store answers at once.
            Ok(())
        }
    });
    server.store.plan(Operation::Load, Fault::Pause);
    let browser = browser.at(&stream);
    let answer = tokio::time::timeout(Duration::from_mins(10), browser.post("/own")).await;
    assert!(answer.is_ok(), "no answer after ten minutes");
}

#[tokio::test]
async fn who_logs_in_over_a_session_that_cannot_be_read_can_begin_anew() {
    let server = Server::with_policy(Policy::web());
    let login = server.handling(|session: Session| async move {
        session.login(Subject::new("bob")).await?;
        session.insert("greeting", "hello")
    });
    let browser = logged_in(&server, "alice").await;
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.at(&login).post("/own").await.status, StatusCode::OK);
    assert_eq!(
        (browser.get("/who").await.text, browser.get("/read/greeting").await.text),
        ("bob".into(), "hello".into())
    );
}

#[tokio::test]
async fn what_is_written_after_a_login_goes_to_the_session_of_that_login() {
    let server = Server::with_policy(Policy::web());
    let seen = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&seen);
    let login = server.handling(move |session: Session| {
        let heard = Arc::clone(&heard);
        async move {
            session.login(Subject::new("bob")).await?;
            *heard.lock().unwrap() = format!("{:?}", session.subject().await?.map(|s| s.as_str().to_owned()));
            session.insert("card", "4242")
        }
    });
    let browser = logged_in(&server, "alice").await;
    let alice = browser.tab();
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.at(&login).post("/own").await.status, StatusCode::OK);
    assert_eq!(*seen.lock().unwrap(), "Some(\"bob\")");
    let cards = (browser.get("/read/card").await.text, alice.get("/read/card").await.text);
    assert_eq!(cards, ("4242".to_owned(), String::new()));
}

#[tokio::test]
async fn a_login_leaves_the_browser_logged_in_as_whom_it_was_told() {
    let server = Server::with_policy(Policy { activity: Activity::Any, ..Policy::web() });
    let browser = logged_in(&server, "alice").await;
    server.clock.advance(server.sessions.policy().renewal_interval);
    server.store.plan(Operation::Load, Fault::Unreadable);
    assert_eq!(browser.post("/login/bob").await.status, StatusCode::OK);
    assert_eq!(browser.get("/who").await.text, "bob");
}

#[tokio::test]
async fn a_logout_of_an_anonymous_session_clears_no_login_by_clear_site_data_either() {
    let cookie = CookiePolicy::default().clear_all_at_logout();
    let server = Server::with_policy(Policy { cookie, ..Policy::web() });
    let browser = server.browser();
    browser.post("/set/cart/tea").await;
    let late = browser.tab();
    let reply = late.post("/logout").await;
    browser.post("/login/alice").await;
    // The logout's answer comes last: it spares the session cookie, and clears all cookies.
    assert!(!reply.cookies.iter().any(|cookie| cookie.starts_with(SESSION)));
    let clears = reply.headers["clear-site-data"].to_str().unwrap();
    assert!(!clears.contains("cookies"), "{clears}");
}

#[tokio::test]
async fn after_a_logout_that_succeeded_a_parallel_elevation_has_no_session() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server, "alice").await;
    let (one, two) = (browser.tab(), browser.tab());
    server.store.plan(Operation::Remove, Fault::Pause);
    let logout = tokio::spawn(async move { one.post("/logout").await.status });
    server.store.paused().await;
    let elevation = two.post("/elevate").await.status;
    server.store.resume();
    let logout = logout.await.unwrap();
    let who = two.get("/who").await.text;
    assert!(
        !(logout == StatusCode::OK && who == "alice"),
        "logout {logout}, elevation {elevation}, then logged in as {who}"
    );
}

#[test]
fn a_grace_beyond_all_bounds_is_a_mistake_and_no_panic() {
    let policy = Policy { grace: Duration::MAX, ..Policy::web() };
    assert!(policy.validate().is_err());
}

/// Code of the application's that is called with a request's extensions finds the session there.
#[test]
fn who_tells_the_peers_address_may_ask_the_session_for_its_client() {
    let (done, told) = mpsc::channel();
    std::thread::spawn(move || {
        let sessions = Sessions::builder(MemoryStore::default())
            .keyring(keyring())
            .peer_address(|extensions| {
                extensions.get::<Session>().and_then(|session| session.client().address())
            })
            .build()
            .unwrap();
        let app = axum::Router::new()
            .route("/", axum::routing::get(|_: Session| async { "" }))
            .layer(sessions.layer());
        let request = axum::http::Request::get("/").body(axum::body::Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _ = runtime.block_on(tower::ServiceExt::oneshot(app, request));
        done.send(()).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_secs(5)).is_ok(), "no answer in five seconds");
}

#[tokio::test]
async fn one_ended_session_is_refused_once() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server, "alice").await;
    browser.post("/elevate").await;
    server.sessions.end_all(&Subject::new("alice")).await.unwrap();
    server.take_events();
    assert!(browser.cookie(SPARE).is_some());
    assert_eq!(browser.get("/who").await.text, "nobody");
    assert_eq!(server.take_events(), ["refused no_session"]);
}

/// Long polls of a minute each, and nothing else.
#[tokio::test]
async fn who_only_makes_slow_requests_gets_renewed_cookies_too() {
    let server = Server::with_policy(Policy::web());
    let clock = Arc::clone(&server.clock);
    let slow = server.handling(move |session: Session| {
        let clock = Arc::clone(&clock);
        async move {
            session.subject().await?;
            clock.advance(Duration::from_mins(1));
            Ok(())
        }
    });
    let browser = logged_in(&server, "alice").await;
    let stolen = browser.tab();
    let poll = browser.at(&slow);
    for _ in 0..120 {
        assert_eq!(poll.post("/own").await.status, StatusCode::OK);
    }
    assert_eq!(browser.get("/who").await.text, "alice");
    assert_eq!(stolen.get("/who").await.text, "nobody", "the cookie of two hours and eight intervals ago");
}

#[tokio::test]
async fn who_presents_a_good_cookie_is_never_slowed() {
    let server = Server::with_policy(Policy::web());
    let browser = logged_in(&server, "alice").await;
    let forged = |n: u8| {
        let mut cookie = browser.cookie(SESSION).unwrap().into_bytes();
        cookie[40] = b'a' + n;
        String::from_utf8(cookie).unwrap()
    };
    let (good, damaged) = (browser.cookie(SESSION).unwrap(), forged(25));
    let neighbour = server.browser().from("192.0.2.7");
    for n in 0..24 {
        neighbour.sending(&[(SESSION, &forged(n))]).get("/who").await;
    }
    let tab = browser.sending(&[(SESSION, &good), (ANONYMOUS, &damaged)]).from("192.0.2.7");
    assert_eq!(tab.get("/who").await.text, "alice");
    // The request of a tab that was under way while another one elevated.
    browser.post("/elevate").await;
    let reply = tab.get("/who").await;
    assert_eq!((reply.status, &*reply.text), (StatusCode::OK, "alice"));
}
