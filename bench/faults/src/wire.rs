//! The wire to one server, which can fall silent: connections stay up and nothing comes through, new ones are not answered.

use std::io::Result;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

pub async fn run(address: SocketAddr, server: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await?;
    let (silence, is_silent) = watch::channel(false);
    let (mut cut, mut mend) = (signal(SignalKind::user_defined1())?, signal(SignalKind::hangup())?);
    println!("ready");
    loop {
        tokio::select! {
            accepted = listener.accept(), if !*is_silent.borrow() => {
                tokio::spawn(connect(accepted?.0, server, is_silent.clone()));
            }
            _ = cut.recv() => {
                // The kernel takes connections on its own until this many wait.
                SockRef::from(&listener).listen(0)?;
                silence.send_replace(true);
            }
            _ = mend.recv() => {
                SockRef::from(&listener).listen(1024)?;
                silence.send_replace(false);
            }
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, is_silent: watch::Receiver<bool>) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) =
        (tokio::io::split(client), tokio::io::split(server));
    let up = pass(from_client, to_server, is_silent.clone());
    let down = pass(from_server, to_client, is_silent);
    tokio::try_join!(up, down).map(drop)
}

async fn pass(
    mut from: ReadHalf<TcpStream>,
    mut to: WriteHalf<TcpStream>,
    mut is_silent: watch::Receiver<bool>,
) -> Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut bytes).await?;
        // Not even an end comes through.
        if is_silent.wait_for(|is_silent| !is_silent).await.is_err() {
            return Ok(());
        }
        match n {
            0 => return to.shutdown().await,
            n => to.write_all(&bytes[..n]).await?,
        }
    }
}
