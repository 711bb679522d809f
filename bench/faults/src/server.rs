//! A server of the application: it knows users by their session cookie, and writes down what it does before it answers.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{Result, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::http::{Connection, Message};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    /// Acts on requests and breaks the connection off.
    Resetting,
    Slow,
}

struct Server {
    name: String,
    mood: Cell<Mood>,
    done: RefCell<File>,
}

pub async fn run(name: &str, address: SocketAddr, file: &str) -> Result<()> {
    let done = OpenOptions::new().create(true).append(true).open(file)?;
    let server = Rc::new(Server { name: name.to_owned(), mood: Cell::new(Mood::Fine), done: RefCell::new(done) });
    let listener = TcpListener::bind(address).await?;
    let (mut reset, mut slow) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
    let mut fine = signal(SignalKind::hangup())?;
    println!("ready");
    let serve = async {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (server, (stream, _)) = (Rc::clone(&server), accepted?);
                    // A connection that breaks is the other side's to tell of.
                    tokio::task::spawn_local(async move { drop(server.serve(stream).await) });
                }
                _ = reset.recv() => server.mood.set(Mood::Resetting),
                _ = slow.recv() => server.mood.set(Mood::Slow),
                _ = fine.recv() => server.mood.set(Mood::Fine),
            }
        }
    };
    LocalSet::new().run_until(serve).await
}

impl Server {
    async fn serve(&self, stream: TcpStream) -> Result<()> {
        let mut connection = Connection::new(stream)?;
        while let Some(request) = connection.receive().await? {
            let is_check = request.head.starts_with("GET /health");
            if let Some(operation) = request.fields("x-op").next() {
                // Written at once, so that a kill loses nothing of it.
                writeln!(self.done.borrow_mut(), "{operation}")?;
            }
            match self.mood.get() {
                // Whoever looks after its health sees nothing wrong.
                Mood::Resetting if !is_check => return connection.stream.set_zero_linger(),
                Mood::Slow if !is_check => sleep(Duration::from_secs(3)).await,
                _ => {}
            }
            connection.send(&self.answer(&request)).await?;
            if request.closes() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Message) -> String {
        let user = request.cookies().find(|(name, _)| *name == "sid").map_or("nobody", |(_, user)| user);
        let body = format!("{} {user}", self.name);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}
