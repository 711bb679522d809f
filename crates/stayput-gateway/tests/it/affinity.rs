//! A client stays on its server, and moves when that is gone.

use crate::support::{TestGateway, Upstream, wait_until};

fn three() -> [Upstream; 3] {
    [0, 1, 2]
        .map(|index| Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ns{index}")))
}

#[test]
fn a_client_stays_where_it_was_first_sent() {
    let upstreams = three();
    let gateway = TestGateway::new(&upstreams.each_ref());
    let first = gateway.get("");
    let cookie = first.set_cookie().expect("a new client is pinned");
    assert!(first.has("Cache-Control: private"));
    for _ in 0..20 {
        let next = gateway.get(&cookie);
        assert_eq!(next.text(), first.text());
        assert!(next.set_cookie().is_none() && !next.has("Cache-Control: private"), "{}", next.head);
    }
}

#[test]
fn the_affinity_cookie_stays_at_the_gateway_and_others_pass_untouched() {
    let upstreams = three();
    let gateway = TestGateway::new(&upstreams.each_ref());
    let token = gateway.cookie("s1").replace("Cookie: ", "").trim().to_owned();
    gateway.get(&format!("Cookie: a=1; {token};  b=\"2\"\r\n"));
    let head = upstreams[1].request(0).head;
    assert!(head.contains("Cookie: a=1;  b=\"2\"\r\n"), "{head}");
    gateway.get(&format!("Cookie: {token}\r\n"));
    assert!(!upstreams[1].request(1).head.contains("Cookie"));
}

#[test]
fn an_unknown_or_contradictory_token_is_answered_with_a_new_pin() {
    let upstreams = three();
    let gateway = TestGateway::new(&upstreams.each_ref());
    let (one, two) = (gateway.cookie("s1"), gateway.cookie("s2"));
    let unknown = format!("Cookie: stayput-affinity={}\r\n", "A".repeat(43));
    for cookies in [unknown, format!("{one}{two}"), gateway.cookie("s9")] {
        let answer = gateway.get(&cookies);
        assert_eq!(answer.status, 200);
        assert!(answer.set_cookie().is_some(), "{cookies}");
    }
    let answer = gateway.get(&format!("{one}{one}"));
    assert!(answer.text() == "s1" && answer.set_cookie().is_none(), "the same twice is no contradiction");
}

#[test]
fn a_token_of_an_older_key_is_honoured_and_renewed() {
    let upstreams = three();
    let gateway = TestGateway::new(&upstreams.each_ref());
    for name in ["s0", "s1", "s2"] {
        let answer = gateway.get(&gateway.old_cookie(name));
        assert_eq!(answer.text(), name);
        // What names the server; times follow it.
        let server = |cookie: String| cookie[.."Cookie: stayput-affinity=".len() + 16].to_owned();
        assert_eq!(answer.set_cookie().map(server), Some(server(gateway.cookie(name))));
    }
}

#[test]
fn a_client_of_a_dead_upstream_is_pinned_to_another_and_stays_there() {
    let upstreams = three();
    let gateway = TestGateway::new(&upstreams.each_ref());
    upstreams[1].kill();
    let moved = gateway.get(&gateway.cookie("s1"));
    assert_eq!(moved.status, 200);
    let cookie = moved.set_cookie().expect("the pin is rewritten");
    wait_until("the move is counted", || gateway.status(1).remaps == 1);
    let next = gateway.get(&cookie);
    assert_eq!(next.text(), moved.text());
    assert!(next.set_cookie().is_none());
}

#[test]
fn fifty_clients_one_after_another_spread_evenly() {
    for _ in 0..5 {
        let upstreams = three();
        let gateway = TestGateway::new(&upstreams.each_ref());
        for _ in 0..50 {
            let cookie = gateway.get("").set_cookie().unwrap();
            gateway.get(&cookie);
        }
        let shares = upstreams.each_ref().map(Upstream::count);
        assert_eq!(shares.iter().sum::<usize>(), 100);
        assert!(shares.iter().max() < shares.iter().min().map(|min| 2 * min).as_ref(), "{shares:?}");
    }
}
