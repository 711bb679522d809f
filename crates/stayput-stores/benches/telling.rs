//! What telling everybody of changes costs Redis: printed, not judged. `cargo bench -p stayput-stores --all-features` on a
//! machine without other work; docs/operations.md has what came of it.

#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../tests/redis/invalidations/reader.rs"]
mod reader;

use std::sync::Arc;
use std::time::{Duration, Instant};

use stayput_core::{Clock, Invalidation, SystemClock};
use stayput_stores::RedisStore;
use stayput_testkit::Records;
use stayput_testkit::servers::{RedisClusterOptions, RedisServer, Reply};
use tokio::task::JoinSet;

use self::reader::{Reader, Writer};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    swaps_by_listeners().await;
    pulses_of_a_cluster().await;
}

async fn swaps_by_listeners() {
    let server = RedisServer::plain();
    let store = connect(&format!("redis://127.0.0.1:{}", server.port())).await;
    for round in 0..3 {
        for listeners in [0, 1, 3, 40] {
            let readers = listen(&store, listeners).await;
            let idle = cpu_over(&server, tokio::time::sleep(Duration::from_secs(3))).await;
            for writers in [1, 64] {
                swaps(&store, writers, 200).await;
                let (count, began) = (20_000 / writers, Instant::now());
                let cpu = cpu_over(&server, swaps(&store, writers, count)).await;
                println!(
                    "round {round}: {listeners} listen, {writers} write: {:.1} us of the server's a swap; {:.0} swaps a second; idle {:.2} % of a core",
                    cpu.as_secs_f64() * 1e6 / 20_000.0,
                    20_000.0 / began.elapsed().as_secs_f64(),
                    idle.as_secs_f64() / 3.0 * 100.0
                );
            }
            drop(readers);
        }
    }
}

async fn pulses_of_a_cluster() {
    let cluster = RedisClusterOptions::default().without_replicas().start();
    let store = connect(&format!("redis+cluster://{}", cluster.seeds())).await;
    for listeners in [0, 40] {
        let readers = listen(&store, listeners).await;
        let idle = cpu_over(cluster.server(0), tokio::time::sleep(Duration::from_secs(10))).await;
        println!("{listeners} listen: {:.2} % of a node's core", idle.as_secs_f64() * 10.0);
        drop(readers);
    }
}

async fn connect(url: &str) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect(url).await.expect("the server was just started"))
}

async fn listen(store: &Arc<RedisStore>, listeners: usize) -> JoinSet<()> {
    let mut readers = JoinSet::new();
    for _ in 0..listeners {
        let mut reader = Reader::of(&**store);
        assert_eq!(reader.next().await, Invalidation::Lost);
        readers.spawn(async move { reader.until_end().await });
    }
    readers
}

async fn swaps(store: &Arc<RedisStore>, writers: usize, count: usize) {
    let mut all = JoinSet::new();
    for _ in 0..writers {
        let (store, records) = (Arc::clone(store), Records::seeded());
        records.clock().set(SystemClock.now());
        all.spawn(async move {
            let mut writer = Writer::new(&*store, &records).await;
            for _ in 0..count {
                writer.swap(&*store).await;
            }
        });
    }
    all.join_all().await;
}

async fn cpu_over(server: &RedisServer, work: impl Future<Output = ()>) -> Duration {
    let before = cpu(server);
    work.await;
    cpu(server).saturating_sub(before)
}

/// What the server has used so far, by its own account.
fn cpu(server: &RedisServer) -> Duration {
    let Reply::Bytes(info) = server.run("INFO cpu") else { panic!("a text is expected") };
    let info = String::from_utf8(info).expect("a text");
    let of = |name: &str| -> f64 {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
            .expect("a time")
    };
    Duration::from_secs_f64(of("used_cpu_sys") + of("used_cpu_user"))
}
