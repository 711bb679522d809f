#![no_main]

#[expect(dead_code, reason = "each target uses a part of it")]
#[path = "../src/gateway/mod.rs"]
mod gateway;
mod seeds;

use gateway::Target;
use gateway::request_head::TARGET;

libfuzzer_sys::fuzz_target!(init: seeds::write(&TARGET), |data: &[u8]| {
    (TARGET.check)(data);
});
