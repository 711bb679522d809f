//! One outage after another: what the servers take of the machine doesn't grow with their number.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Fault, Site, User};

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Hung, Fault::Partitioned];

/// Two of each kind. `bench/outage.py --outages 20` has more and longer ones.
const OUTAGES: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_after_outage_servers_take_no_more_memory_and_descriptors() {
    let mut site = Site::start().await;
    let users: Vec<_> = site.users().await.into_iter().map(Arc::new).collect();
    let (mut visits, mut sizes) = (vec![1; users.len()], Vec::new());
    for fault in FAULTS.into_iter().cycle().take(OUTAGES) {
        site.take_away(fault);
        let away = Instant::now() + Duration::from_millis(1_500);
        let all = users.iter().cloned().zip(visits.drain(..));
        let all: JoinSet<()> = all.map(|(user, visits)| goes_on(user, visits, away)).collect();
        all.join_all().await;
        site.give_back(fault);
        for user in &users {
            visits.push(user.visits_again().await);
        }
        // Servers let go of their copies once more when the store tells them of changes again, which may be after it takes calls.
        sleep(Duration::from_secs(1)).await;
        for (user, visits) in users.iter().zip(&visits) {
            user.reads(*visits).await;
        }
        sizes.push(site.up.servers().iter().map(|server| size(server.pid)).collect::<Vec<_>>());
    }
    println!("kilobytes and descriptors of each server, after each outage: {sizes:?}");
    // All kinds have been there once.
    let (early, late) = (&sizes[FAULTS.len() - 1], &sizes[OUTAGES - 1]);
    for ((memory_then, descriptors_then), (memory, descriptors)) in early.iter().zip(late) {
        assert!(memory < &(memory_then + memory_then / 10 + 1_024), "{sizes:?}");
        assert!(descriptors < &(descriptors_then + 8), "{sizes:?}");
    }
}

/// Reads and tries to write until the store comes back.
async fn goes_on(user: Arc<User>, visits: u64, back: Instant) {
    while Instant::now() < back {
        user.reads(visits).await;
        assert_eq!(user.visit().await.status, 503, "{}", user.name);
    }
}

/// Resident kilobytes and open descriptors.
fn size(pid: u32) -> (u64, usize) {
    let process = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(process.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes = line.trim().trim_end_matches(" kB").parse().unwrap();
    (kilobytes, std::fs::read_dir(process.join("fd")).unwrap().count())
}
