//! The table of security requirements names tests that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_test_that_a_security_requirement_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let functions = functions(&root.join("crates"));
    let table = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let tests = row.split(" | ").nth(3).unwrap_or_default();
        // Every other piece stands between backticks. A path ends in the function's name; what is cut off ends in an ellipsis.
        for word in tests.split('`').skip(1).step_by(2) {
            let name = word.rsplit("::").next().unwrap();
            let (start, is_cut) = name.strip_suffix('…').map_or((name, false), |start| (start, true));
            if !start.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
                continue;
            }
            named += 1;
            let is_there = functions.contains(start)
                || is_cut
                    && functions.range(start.to_owned()..).next().is_some_and(|next| next.starts_with(start));
            assert!(is_there, "docs/security.md names a test that isn't there: {word}");
        }
    }
    assert!(named > 50, "the table isn't read as it is written: {named} names");
}

/// The names of all functions below a folder.
fn functions(folder: &Path) -> BTreeSet<String> {
    let mut functions = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.lines().filter_map(|line| line.split_once("fn "));
                let name =
                    |(_, rest): (&str, &str)| rest.split(['(', '<']).next().unwrap_or_default().to_owned();
                functions.extend(named.map(name));
            }
        }
    }
    functions
}
