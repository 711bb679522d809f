//! An upstream that records what it is sent, read strictly, and answers each whole request with `ok`.
//!
//! It never reads on in a connection after something malformed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::strict::{self, Next, Request};

/// What has arrived, over all connections.
#[derive(Debug, Default)]
pub struct Record {
    /// Whole requests in the order in which they were.
    pub requests: Vec<Request>,
    /// Why connections were given up.
    pub malformed: Vec<String>,
    /// What connections ended with that is no whole request.
    pub broken: Vec<Vec<u8>>,
}

/// Listens on loopback for as long as the process lives.
#[derive(Debug)]
pub struct Recorder {
    pub address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let record = Arc::<Mutex<Record>>::default();
        let recorder = Self { address, record: record.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let record = record.clone();
                thread::spawn(move || serve(stream, &record));
            }
        });
        recorder
    }

    /// What has arrived since the last call.
    pub fn take(&self) -> Record {
        std::mem::take(&mut *lock(&self.record))
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, record: &Mutex<Record>) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    // Answers are small, and go out at once.
    let _ = stream.set_nodelay(true);
    loop {
        match strict::request(&bytes) {
            Next::Whole(request, length) => {
                bytes.drain(..length);
                let is_head = request.method == "HEAD";
                lock(record).requests.push(request);
                let answer = if is_head { HEAD } else { OK };
                // Who is gone needs no answer.
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            Next::Incomplete => {
                let Ok(n @ 1..) = stream.read(&mut piece) else {
                    if !bytes.is_empty() {
                        lock(record).broken.push(bytes);
                    }
                    return;
                };
                bytes.extend_from_slice(&piece[..n]);
            }
            Next::Malformed(why) => {
                let text = format!("{why}: {:?}", String::from_utf8_lossy(&bytes));
                lock(record).malformed.push(text);
                return;
            }
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
