//! The sample application, as its table of requests and answers says.

use reqwest::StatusCode;
use serde_json::json;

use crate::up::Up;

#[tokio::test]
async fn the_shop_answers_programs_in_json() {
    let (up, _dir, _) = Up::fresh();
    let browser = up.browser();
    let reply = browser.get("/me").await.unwrap();
    assert_eq!((reply.status, reply.json()), (StatusCode::UNAUTHORIZED, json!({"error": "not logged in"})));
    assert_eq!(browser.post("/visits", &[]).await.unwrap().json(), json!({"visits": 1}));
    assert_eq!(browser.post("/cart", &[("item", "Tea")]).await.unwrap().json(), json!({"cart": ["Tea"]}));

    let server = browser.get("/server").await.unwrap().json();
    assert!(server["pid"].is_u64(), "{server}");
    let server = &server["server"];
    let login = browser.post("/login", &[("user", "alice")]).await.unwrap();
    assert_eq!((login.status, login.json()), (StatusCode::OK, json!({"user": "alice", "server": server})));
    let me = json!({"user": "alice", "server": server, "visits": 1, "cart": ["Tea"]});
    assert_eq!(browser.get("/me").await.unwrap().json(), me);

    assert_eq!(browser.post("/logout", &[]).await.unwrap().status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.unwrap().status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.cookie("stayput-session"), None);
}

#[tokio::test]
async fn bad_input_is_refused_in_words() {
    let (up, _dir, _) = Up::fresh();
    let browser = up.browser();
    let long = "x".repeat(101);
    for (path, field, value) in
        [("/login", "user", " "), ("/login", "user", &long), ("/cart", "item", ""), ("/cart", "item", &long)]
    {
        let reply = browser.post(path, &[(field, value)]).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path} {value:?}");
        assert!(reply.json()["error"].is_string());
    }
    assert_eq!(browser.post("/login", &[]).await.unwrap().status, StatusCode::UNPROCESSABLE_ENTITY);
    for _ in 0..50 {
        browser.post("/cart", &[("item", "Tea")]).await.unwrap();
    }
    assert_eq!(browser.post("/cart", &[("item", "Tea")]).await.unwrap().status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn cookies_on_loopback_are_plain_and_behind_tls_host_bound_and_secure() {
    let (up, dir, port) = Up::fresh();
    let login = up.browser().post("/login", &[("user", "alice")]).await.unwrap();
    let cookie = login.cookies.iter().find(|cookie| cookie.starts_with("stayput-session=")).unwrap();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    drop(up);

    let config = dir.path().join("stayput.toml");
    std::fs::write(&config, "[gateway]\nbehind_tls = true\n").unwrap();
    let up = Up::start(dir.path(), port, &["--config", config.to_str().unwrap()]);
    let login = up.browser().post("/login", &[("user", "alice")]).await.unwrap();
    for name in ["__Host-stayput-session=", "__Host-stayput-affinity="] {
        let cookie = login.cookies.iter().find(|cookie| cookie.starts_with(name)).expect(name);
        assert!(cookie.contains("; Secure"), "{cookie}");
    }
    assert!(!up.browser().get("/").await.unwrap().text.contains("drops this shop's cookies"));
}
