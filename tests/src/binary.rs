//! Where the `tidemark` under test comes from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary, built from this tree in the profile the tests were built in. `TIDEMARK_BIN` names
/// another one instead.
///
/// # Panics
/// Where it does not build.
pub fn tidemark() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("TIDEMARK_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Cargo builds a package's binaries for the tests of that package only, so it is asked again. It is
/// asked for the whole workspace and for a test as well: so crates have the features they have in
/// `cargo test --workspace`, and what that has built is not built once more.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    // target/<profile>/deps/<test>
    let folder = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder
        .parent()
        .expect("the profile lies in the target folder");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace"])
        .args(["--bin", "tidemark", "--test", "tidy"])
        .args(["--profile", profile, "--target-dir"])
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the binary does not build");
    folder.join("tidemark")
}
