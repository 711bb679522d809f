//! An authority of the test's own, and a certificate for loopback by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A certificate authority, and a server certificate for `localhost` and `127.0.0.1`, as PEM files in a directory.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes new ones in `dir`.
    ///
    /// # Panics
    ///
    /// If there is no `openssl` command, or `dir` can't be written.
    pub fn generate(dir: &Path) -> Self {
        let file = |name: &str| dir.join(name);
        let made = Self { authority: file("ca.pem"), certificate: file("cert.pem"), key: file("key.pem") };
        let (ca_key, request, names) = (file("ca-key.pem"), file("request.pem"), file("names"));
        fs::write(&names, NAMES).expect("the directory can be written");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"];
        openssl(
            &[&["req", "-x509", "-days", "2", "-subj", "/CN=Stayput test authority"], &key[..]].concat(),
            &[&ca_key, Path::new("-out"), &made.authority],
        );
        openssl(
            &[&["req", "-subj", "/CN=localhost"], &key[..]].concat(),
            &[&made.key, Path::new("-out"), &request],
        );
        openssl(
            &["x509", "-req", "-days", "2", "-CAcreateserial", "-in"],
            &[
                &request,
                Path::new("-CA"),
                &made.authority,
                Path::new("-CAkey"),
                &ca_key,
                Path::new("-extfile"),
                &names,
                Path::new("-out"),
                &made.certificate,
            ],
        );
        made
    }
}

fn openssl(options: &[&str], files: &[&Path]) {
    let mut command = Command::new("openssl");
    command.args(options).args(files).stdout(Stdio::null()).stderr(Stdio::piped());
    let done = command.output().expect("there is an openssl command");
    assert!(done.status.success(), "openssl: {}", String::from_utf8_lossy(&done.stderr));
}

/// rustls wants a certificate of version 3, which one with extensions is.
const NAMES: &str = "subjectAltName = DNS:localhost, IP:127.0.0.1\nbasicConstraints = CA:FALSE\n";
