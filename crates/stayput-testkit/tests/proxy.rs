//! What the proxy does in each weather, seen by a client of a server that echoes.
#![cfg(feature = "servers")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use stayput_testkit::{FaultProxy, Weather};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn proxy() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut client, b"fair").await.unwrap(), b"fair");
    (proxy, client)
}

async fn ask(client: &mut TcpStream, question: &[u8]) -> std::io::Result<Vec<u8>> {
    client.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    client.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Long enough for an answer that comes, on a busy machine, too short to be waited for often.
const PATIENCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn slow_weather_delays_what_is_said() {
    let (proxy, mut client) = proxy().await;
    let delay = Duration::from_millis(20);
    proxy.set(Weather::Slow(delay..delay));
    let before = Instant::now();
    assert_eq!(ask(&mut client, b"slow").await.unwrap(), b"slow");
    assert!(before.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn what_hung_arrives_when_the_weather_changes() {
    let (proxy, mut client) = proxy().await;
    for weather in [Weather::Hang, Weather::Mute] {
        proxy.set(weather);
        client.write_all(b"hung").await.unwrap();
        let mut answer = [0; 4];
        assert!(timeout(PATIENCE, client.read_exact(&mut answer)).await.is_err());
        proxy.set(Weather::Fair);
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hung");
    }
}

#[tokio::test]
async fn a_reset_ends_connections_old_and_new() {
    let (proxy, mut client) = proxy().await;
    proxy.set(Weather::Reset);
    assert_eq!(client.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    let error = ask(&mut next, b"next").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    proxy.set(Weather::Fair);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut next, b"fair").await.unwrap(), b"fair");
    assert_eq!(proxy.connections(), 3);
}

#[tokio::test]
async fn a_half_closed_connection_is_at_its_end_for_the_client_alone() {
    let (proxy, mut client) = proxy().await;
    proxy.set(Weather::HalfClose);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(b"still there").await.unwrap();
    assert!(timeout(PATIENCE, client.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_is_cut_at_the_byte_that_was_told() {
    let (proxy, mut client) = proxy().await;
    proxy.set(Weather::CutAfter(7));
    client.write_all(b"0123456789").await.unwrap();
    let mut answer = Vec::new();
    let error = client.read_to_end(&mut answer).await.unwrap_err();
    assert_eq!((answer.as_slice(), error.kind()), (b"0123456".as_slice(), ErrorKind::ConnectionReset));
    // Each connection has its own seven.
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut next, b"next").await.unwrap(), b"next");
}

#[tokio::test]
async fn it_ends_with_its_connections() {
    let (proxy, mut client) = proxy().await;
    let address = proxy.address();
    drop(proxy);
    assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
    assert!(TcpStream::connect(address).await.is_err());
}
