//! Slots on the move, step by step, as `redis-cli --cluster reshard` does it.

use super::super::Reply;
use super::RedisCluster;

impl RedisCluster {
    /// Moves slots to a node, one after the other, with all that is in them.
    ///
    /// # Panics
    ///
    /// If one of them is served by nobody, or a step is refused.
    pub fn move_slots(&self, slots: impl IntoIterator<Item = u16>, to: usize) {
        for slot in slots {
            if self.primary(slot) != Some(to) {
                self.begin_move(slot, to);
                while self.move_keys(slot, to, 10) > 0 {}
                self.end_move(slot, to);
            }
        }
    }

    /// Opens a slot: from now on what isn't in its node any more, or never was, is asked of `to`.
    ///
    /// # Panics
    ///
    /// If it is served by nobody, or the step is refused.
    pub fn begin_move(&self, slot: u16, to: usize) {
        let from = self.primary(slot).expect("the slot is served");
        self.nodes[to].expect_ok(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.nodes[from].id()));
        self.nodes[from].expect_ok(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.nodes[to].id()));
    }

    /// Moves some keys of an open slot, and says how many.
    ///
    /// # Panics
    ///
    /// If it is served by nobody, or the step is refused.
    pub fn move_keys(&self, slot: u16, to: usize, most: usize) -> usize {
        let from = &self.nodes[self.primary(slot).expect("the slot is served")];
        let Reply::Array(keys) = from.run(&format!("CLUSTER GETKEYSINSLOT {slot} {most}")) else {
            panic!("keys are expected");
        };
        let keys = keys.into_iter().map(|key| match key {
            Reply::Bytes(key) => key,
            other => panic!("a key is expected: {other:?}"),
        });
        let to = self.nodes[to].port().to_string();
        let head = ["MIGRATE", "127.0.0.1", &to, "", "0", "5000"].map(|word| word.as_bytes().to_vec());
        let mut migrate = head.to_vec();
        if let Some(password) = &from.password {
            migrate.extend([b"AUTH".to_vec(), password.clone().into_bytes()]);
        }
        migrate.push(b"KEYS".to_vec());
        let words = migrate.len();
        migrate.extend(keys);
        let count = migrate.len() - words;
        if count > 0 {
            // `NOKEY` if they have all expired meanwhile.
            let reply = from.ask(&migrate);
            assert!(matches!(&reply, Reply::Status(done) if done == "OK" || done == "NOKEY"), "{reply:?}");
        }
        count
    }

    /// Gives an open slot that is empty to `to`, and tells everybody: the new node first, so that no key is ever nobody's.
    ///
    /// # Panics
    ///
    /// If the step is refused.
    pub fn end_move(&self, slot: u16, to: usize) {
        let from = self.primary(slot).expect("the slot is served");
        let command = format!("CLUSTER SETSLOT {slot} NODE {}", self.nodes[to].id());
        self.nodes[to].expect_ok(&command);
        self.nodes[from].expect_ok(&command);
    }
}
