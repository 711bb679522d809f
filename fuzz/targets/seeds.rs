//! Hands the fuzzer what it can't guess. Runs in the target itself, before the fuzzer reads its folders.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::Target;

/// Writes the target's seeds into the folder `STAYPUT_SEEDS`, and the dictionary beside it, if that is set.
pub fn write(target: &Target) {
    let Some(folder) = env::var_os("STAYPUT_SEEDS").map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("the folder for seeds can be made");
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).expect("seeds can be written");
    }
    let words: Vec<_> = (target.words)().iter().map(|word| format!("\"{word}\"\n")).collect();
    // An empty file would be an error to the fuzzer.
    let text = format!("# words of {}\n{}", target.name, words.concat());
    fs::write(folder.with_extension("dict"), text).expect("the dictionary can be written");
}
