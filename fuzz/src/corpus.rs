//! What the fuzzer kept is replayed, without a fuzzer. The tests of a crate with targets have this file beside them, as
//! `crate::fuzz`.

use std::fs;
use std::path::Path;

use crate::fuzz::{TARGETS, Target};

#[test]
fn every_kept_input_and_every_seed_of_the_fuzz_targets_is_handled_as_it_must_be() {
    for target in TARGETS {
        for (name, bytes) in &kept(target) {
            println!("{} {name}", target.name);
            (target.check)(bytes);
        }
        for (number, bytes) in (target.seeds)().iter().enumerate() {
            println!("{} seed {number}", target.name);
            (target.check)(bytes);
        }
    }
}

/// Otherwise the format has changed since, and the corpus says nothing about what is behind a signature.
#[test]
fn among_the_kept_inputs_of_every_fuzz_target_some_are_genuine_and_some_are_not() {
    for target in TARGETS {
        let kept = kept(target);
        let genuine = kept.iter().filter(|(_, bytes)| (target.check)(bytes)).count();
        assert!(genuine > 0, "no kept input of {} is genuine: fuzz it again (fuzz/README.md)", target.name);
        assert!(genuine < kept.len(), "every kept input of {} is genuine", target.name);
    }
}

#[test]
fn the_fuzzer_takes_every_word_of_its_dictionary() {
    // libFuzzer drops longer ones silently. A byte that isn't graphic is written as libFuzzer has it, `\x0d`.
    for word in TARGETS.iter().flat_map(|target| (target.words)()) {
        assert!(
            word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'),
            "{word}"
        );
    }
}

fn kept(target: Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target.name);
    let files = fs::read_dir(folder).expect("the corpus is part of the repository");
    let read = |file: Result<fs::DirEntry, _>| {
        let file = file.expect("the corpus can be listed");
        let bytes = fs::read(file.path()).expect("the corpus can be read");
        (file.file_name().to_string_lossy().into_owned(), bytes)
    };
    files.map(read).collect()
}
