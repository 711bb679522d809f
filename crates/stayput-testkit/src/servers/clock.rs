//! A test's clock for a server that tells the time by the operating system.
//!
//! A store whose server expires records by itself can't be given a clock; its server can, by a small library that is
//! preloaded into it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ManualClock;

/// What has a server tell the time by `clock`, through a file in `dir`: settings of its environment, as `env` takes them.
///
/// # Panics
///
/// If there is no C compiler.
pub(super) fn environment(clock: &ManualClock, dir: &Path) -> [String; 2] {
    let path = dir.join("clock");
    clock.publish(File::create(&path).expect("the directory can be written"));
    [format!("STAYPUT_CLOCK={}", path.display()), format!("LD_PRELOAD={}", library(dir).display())]
}

fn library(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, include_str!("clock.c")).expect("the directory can be written");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
    let done = compiler.output().expect("there is a C compiler");
    assert!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr));
    library
}
