//! The workspace's arrows point one way.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may depend on, of ours; tests may use the test kit, too.
const ARROWS: &[(&str, &[&str])] = &[
    ("stayput-core", &[]),
    ("stayput", &["stayput-core"]),
    ("stayput-stores", &["stayput-core"]),
    ("stayput-gateway", &["stayput-core"]),
    ("stayput-testkit", &["stayput-core"]),
    ("stayput-cli", &["stayput", "stayput-core", "stayput-gateway", "stayput-stores", "stayput-testkit"]),
    // Examples use what users use.
    ("example-behind-nginx", &["stayput", "stayput-stores"]),
    ("example-cart", &["stayput", "stayput-stores"]),
    ("example-devices", &["stayput", "stayput-stores"]),
    // Who writes a store needs the contract alone.
    ("example-own-store", &["stayput-core"]),
    ("example-typed", &["stayput", "stayput-stores"]),
];

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let ours: BTreeSet<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    assert_eq!(ours, allowed.keys().map(ToString::to_string).collect());
    for package in &metadata.packages {
        let may_use = allowed[package.name.as_str()];
        for dependency in package.dependencies.iter().filter(|dependency| ours.contains(&dependency.name)) {
            let for_tests = dependency.kind == DependencyKind::Development;
            let name = dependency.name.as_str();
            // The library's tests need a store to run over.
            let fine = may_use.contains(&name)
                || for_tests
                    && (name == "stayput-testkit" || package.name == "stayput" && name == "stayput-stores");
            assert!(fine, "{} must not depend on {name}", package.name);
        }
    }
}

#[test]
fn the_gateway_can_open_no_record_and_core_knows_no_runtime_server_or_driver() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let dependencies = |name: &str| -> BTreeSet<String> {
        let package = metadata.packages.iter().find(|package| package.name == name).unwrap();
        let normal =
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        normal.map(|dependency| dependency.name.clone()).collect()
    };
    let core = dependencies("stayput-core");
    // Of the operating system it wants the clock, of asynchronous code the shape of a stream, and records may be compressed.
    let allowed = ["aws-lc-rs", "bytes", "data-encoding", "futures-core", "humantime", "lz4_flex", "rustix"];
    assert!(core.iter().all(|name| allowed.contains(&name.as_str())), "{core:?}");
    let gateway = dependencies("stayput-gateway");
    // Records are MessagePack. JSON is what its admin interface speaks.
    assert!(
        !gateway.iter().any(|name| ["rmp-serde", "rmpv", "rusqlite"].contains(&name.as_str())),
        "{gateway:?}"
    );
}
