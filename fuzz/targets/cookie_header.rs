#![no_main]

mod seeds;

use stayput_fuzz::Target;
use stayput_fuzz::cookie_header::TARGET;

libfuzzer_sys::fuzz_target!(init: seeds::write(&TARGET), |data: &[u8]| {
    (TARGET.check)(data);
});
