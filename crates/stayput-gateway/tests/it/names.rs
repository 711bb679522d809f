//! Upstreams given by name: found, followed when they move, kept when their name is lost.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stayput_gateway::{
    ChangeError, Config, ConfigMistake, PoolConfig, Resolve, SiteConfig, UpstreamAddress, UpstreamConfig,
};

use crate::support::{OK, TestGateway, Upstream, localhost, wait_until};

/// Says of every name what it is told to; nothing is an error.
#[derive(Debug, Default)]
struct Book {
    says: Mutex<Vec<SocketAddr>>,
    asked: AtomicUsize,
}

impl Book {
    fn of(addresses: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(addresses.into()), asked: AtomicUsize::new(0) })
    }

    fn say(&self, addresses: &[SocketAddr]) {
        *self.says.lock().unwrap() = addresses.into();
    }

    /// Returns when what it says now has been noted.
    fn wait(&self) {
        let asked = self.asked.load(SeqCst);
        // One look-up may have been under way.
        wait_until("it is asked again", || self.asked.load(SeqCst) > asked + 2);
    }
}

impl Resolve for Book {
    fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("app.test", 80));
        let says = self.says.lock().unwrap().clone();
        self.asked.fetch_add(1, SeqCst);
        if says.is_empty() { Err(io::Error::other("no such name")) } else { Ok(says) }
    }
}

fn name() -> UpstreamAddress {
    "app.test:80".parse().unwrap()
}

/// A gateway in front of `app.test`, which looks it up all the time.
fn gateway(book: &Arc<Book>) -> TestGateway {
    TestGateway::at(&[localhost()], |config| follow(config, book))
}

fn follow(config: &mut Config, book: &Arc<Book>) {
    config.resolver = book.clone();
    config.site.resolve = Duration::from_millis(1);
    config.site.timeouts.down = Duration::from_millis(50);
    config.site.pools[0].upstreams[0].address = name();
}

fn saying(text: &str) -> Upstream {
    Upstream::answering(OK.replace("ok", text))
}

fn gone() -> SocketAddr {
    std::net::TcpListener::bind(localhost()).unwrap().local_addr().unwrap()
}

#[test]
fn a_server_that_moves_is_followed_with_its_clients_and_idle_connections_are_not_used() {
    let (one, other) = (saying("s1"), saying("s2"));
    let book = Book::of(&[one.address]);
    let gateway = gateway(&book);
    let first = gateway.get("");
    assert_eq!((first.text(), gateway.status(0).address), ("s1", name()));
    let cookie = first.set_cookie().unwrap();
    assert_eq!(gateway.get(&cookie).text(), "s1");
    assert_eq!(one.seen().connections, 1, "connections are kept");
    book.wait();
    assert_eq!(gateway.get(&cookie).text(), "s1");
    assert_eq!(one.seen().connections, 1, "a look-up that finds the same changes nothing");

    book.say(&[other.address]);
    wait_until("it has moved", || *gateway.status(0).addresses == [other.address]);
    let answer = gateway.get(&cookie);
    assert!(answer.text() == "s2" && answer.set_cookie().is_none(), "affinity goes by name: {answer:?}");
    assert_eq!(one.count(), 3, "nobody is sent to where it was");
}

#[test]
fn a_connection_that_was_in_use_while_its_address_went_away_is_not_kept() {
    let (one, other) = (saying("s1"), saying("s2"));
    let book = Book::of(&[one.address]);
    let gateway = gateway(&book);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na");
    wait_until("it is under way", || one.seen().connections == 1);
    book.say(&[other.address]);
    wait_until("it has moved", || *gateway.status(0).addresses == [other.address]);
    assert_eq!(gateway.get("").text(), "s2");
    client.send("b");
    assert_eq!(client.answer().text(), "s1", "what is under way ends as it began");
    assert_eq!(gateway.get("").text(), "s2");
}

#[test]
fn a_name_that_can_not_be_resolved_is_down_until_it_can_and_keeps_its_addresses_after_that() {
    let server = Upstream::ok();
    let book = Book::of(&[]);
    let gateway = gateway(&book);
    assert!(gateway.status(0).is_down && gateway.status(0).addresses.is_empty());
    assert_eq!(gateway.get("").status, 503);
    book.say(&[server.address]);
    wait_until("it is found", || gateway.get("").status == 200);
    assert!(!gateway.status(0).is_down);

    book.say(&[]);
    book.wait();
    assert_eq!(*gateway.status(0).addresses, [server.address]);
    assert_eq!(gateway.get("").status, 200);
    assert!(!gateway.status(0).is_down);
}

#[test]
fn all_addresses_of_a_name_are_one_server_and_the_one_that_worked_is_asked_first() {
    let server = Upstream::ok();
    let book = Book::of(&[gone(), gone(), server.address]);
    let gateway = gateway(&book);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.answer().status, 200);
    let status = gateway.status(0);
    assert_eq!((status.addresses.len(), status.addresses[0], status.is_down), (3, server.address, false));
    book.wait();
    assert_eq!(gateway.status(0).addresses[0], server.address, "another look-up does not change that");
    assert_eq!(gateway.control().upstreams().len(), 1);
}

#[test]
fn an_address_of_a_name_that_goes_leaves_the_others_their_connections() {
    let (one, other) = (saying("s1"), saying("s2"));
    let book = Book::of(&[one.address, other.address]);
    let gateway = gateway(&book);
    let stays = gateway.get("").text().to_owned();
    let (stays, goes) = if stays == "s1" { (&one, &other) } else { (&other, &one) };
    book.say(&[stays.address]);
    wait_until("the other is gone", || *gateway.status(0).addresses == [stays.address]);
    assert_eq!(gateway.get("").status, 200);
    assert_eq!((stays.seen().connections, goes.seen().connections), (1, 0), "its connection is kept");
    book.say(&[goes.address]);
    wait_until("it has moved", || *gateway.status(0).addresses == [goes.address]);
    assert_eq!(gateway.get("").status, 200);
    assert_eq!((stays.count(), goes.count()), (2, 1));
}

/// Says nothing of any name before it is dropped.
#[derive(Debug)]
struct Hangs(Mutex<std::sync::mpsc::Receiver<()>>);

impl Resolve for Hangs {
    fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        // Ends when the test does, whose end of it is dropped then.
        let _ = self.0.lock().unwrap().recv();
        Err(io::Error::other("too late"))
    }
}

#[test]
fn a_resolver_that_hangs_holds_up_neither_requests_nor_a_reload_for_good_nor_the_end() {
    let server = Upstream::ok();
    let (_open, hangs) = std::sync::mpsc::channel();
    let gateway = TestGateway::with(&[&server], |config| {
        config.resolver = Arc::new(Hangs(Mutex::new(hangs)));
        config.site.resolve = Duration::from_millis(1);
    });
    let mut config = gateway.control().config();
    // More than are looked up at a time.
    let more =
        (0..40).map(|n| UpstreamConfig::new(format!("n{n}"), format!("n{n}.test:80").parse().unwrap()));
    config.pools[0].upstreams.extend(more);
    let (control, keyring) = (gateway.control().clone(), gateway.keyring());
    let reload = std::thread::spawn(move || control.reload(config, keyring).unwrap());
    while !reload.is_finished() {
        assert_eq!(gateway.get("").text(), "ok");
    }
    reload.join().unwrap();
    assert_eq!(gateway.control().upstreams().len(), 41);
    assert!((1..41).all(|index| gateway.status(index).is_down));
    assert_eq!(gateway.get("").text(), "ok");
    gateway.shut_down(Duration::from_secs(1)).join().unwrap();
}

#[test]
fn checks_go_where_requests_go() {
    let server = Upstream::ok();
    let book = Book::of(&[gone(), server.address]);
    let gateway = TestGateway::at(&[localhost()], |config| {
        follow(config, &book);
        let mut check = stayput_gateway::Check::http("/");
        (check.interval, check.fall) = (Duration::from_millis(20), 1);
        config.site.pools[0].health.check = Some(check);
    });
    wait_until("it is checked", || gateway.status(0).check.is_some());
    assert!(gateway.status(0).check.unwrap().is_passing);
    assert!(server.request(0).head.contains("\r\nHost: app.test:80\r\n"));
}

#[test]
fn a_name_that_leads_to_the_gateway_itself_is_refused() {
    let server = Upstream::ok();
    let book = Book::of(&[]);
    let gateway = TestGateway::with(&[&server], |config| config.resolver = book.clone());
    book.say(&[gateway.address, server.address]);
    let added = gateway.control().put_upstream("default", UpstreamConfig::new("self", name()));
    assert_eq!(added, Err(ChangeError::Mistakes(vec![ConfigMistake::OwnAddress(gateway.address)])));
    assert_eq!(gateway.control().upstreams().len(), 1);
}

#[test]
fn a_name_that_comes_to_lead_to_the_gateway_leaves_that_address_out() {
    let server = Upstream::ok();
    let book = Book::of(&[]);
    let gateway = gateway(&book);
    book.say(&[gateway.address, server.address]);
    wait_until("it is found", || *gateway.status(0).addresses == [server.address]);
}

#[test]
fn a_gateway_on_all_addresses_is_no_upstream_of_itself_by_any_of_them() {
    let own = SocketAddr::from(([0, 0, 0, 0], 80));
    let mistakes = |address: &str| {
        let upstream = UpstreamConfig::new("a", address.parse().unwrap());
        SiteConfig::new(vec![PoolConfig::new(vec![upstream])]).mistakes(Some(own))
    };
    assert_eq!(mistakes("127.0.0.2:80"), [ConfigMistake::OwnAddress(own)]);
    assert_eq!(mistakes("127.0.0.2:81"), []);
}

#[test]
fn a_name_that_can_be_none_is_a_mistake() {
    let address = UpstreamAddress::Name { host: "a b".into(), port: 80 };
    let config = SiteConfig::new(vec![PoolConfig::new(vec![UpstreamConfig::new("a", address.clone())])]);
    assert_eq!(config.mistakes(None), [ConfigMistake::UpstreamAddress("a".into(), address)]);
}

#[test]
fn the_system_is_asked_for_names() {
    let server = Upstream::ok();
    let address: UpstreamAddress = format!("localhost:{}", server.address.port()).parse().unwrap();
    let gateway = TestGateway::at(&[localhost()], |config| {
        config.site.pools[0].upstreams[0].address = address;
    });
    assert_eq!(gateway.get("").text(), "ok");
    assert_eq!(gateway.status(0).addresses[0], server.address);
}
