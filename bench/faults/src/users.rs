//! All users at once, phase by phase.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{Result, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::outcome::Kind;
use crate::report::Figures;
use crate::user::User;

/// A user's pause between two requests is between nothing and twice this.
const PAUSE: Duration = Duration::from_millis(200);
/// One request in so many is a write.
const WRITES: u32 = 7;

struct Run {
    figures: RefCell<Figures>,
    answered: RefCell<File>,
    is_over: Cell<bool>,
    phase: Cell<usize>,
}

pub async fn run(count: usize, file: &str, gateways: Vec<SocketAddr>) -> Result<()> {
    let run = Rc::new(Run {
        figures: RefCell::default(),
        answered: RefCell::new(File::create(file)?),
        is_over: Cell::new(false),
        phase: Cell::new(0),
    });
    let local = LocalSet::new();
    for number in 0..count {
        local.spawn_local(Rc::clone(&run).user(User::new(number, &gateways)));
    }
    local.run_until(run.phases()).await?;
    run.is_over.set(true);
    local.await;
    Ok(())
}

impl Run {
    async fn user(self: Rc<Self>, mut user: User) {
        let mut phase = 0;
        while !self.is_over.get() {
            // Whoever moved in one phase would be nowhere near the server that fails in the next.
            if std::mem::replace(&mut phase, self.phase.get()) != self.phase.get() {
                user.start_anew();
            }
            sleep(PAUSE.mul_f64(2.0 * fastrand::f64())).await;
            let kind = if fastrand::u32(..WRITES) == 0 { Kind::Write } else { Kind::Read };
            let (outcome, operation) = user.ask(kind).await;
            if let (Some(operation), Ok(_)) = (operation, &outcome.result) {
                writeln!(self.answered.borrow_mut(), "{operation}").expect("there is room for a line");
            }
            self.figures.borrow_mut().add(outcome);
        }
    }

    /// A line names the next phase; the figures of the one that ends are printed.
    async fn phases(&self) -> Result<()> {
        println!("ready");
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut phase: Option<String> = None;
        loop {
            let next = lines.next_line().await?;
            let figures = self.figures.take();
            if let Some(phase) = phase {
                println!("{}", figures.line(&phase));
            }
            let Some(name) = next else { return Ok(()) };
            phase = Some(name);
            self.phase.update(|phase| phase + 1);
        }
    }
}
