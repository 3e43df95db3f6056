//! Whose certificates are believed: the machine's own list, as every other program on it.

use crate::base::{Error, Kind, Result};
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Where distributions keep their list.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const MAX_BYTES: u64 = 16 << 20;

/// The certificates in `given`, else in the system's list.
pub fn certificates(given: Option<&Path>) -> Result<Vec<Certificate<'static>>> {
    let file = match given {
        Some(file) => file.to_owned(),
        None => SYSTEM.iter().map(PathBuf::from).find(|file| file.is_file()).ok_or_else(|| {
            Error::new(Kind::Unavailable, "no certificates are installed, so no https server can be believed")
                .hint("install ca-certificates, or name a file of them in SSL_CERT_FILE")
        })?,
    };
    let attempt = |e: &std::io::Error| Error::io("read the trusted certificates", &file, e);
    let size = std::fs::metadata(&file).map_err(|e| attempt(&e))?.len();
    if size > MAX_BYTES {
        return Err(Error::bad_input("this is no list of certificates").on(file.display().to_string()));
    }
    let text = std::fs::read(&file).map_err(|e| attempt(&e))?;
    let certificates: Vec<_> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::bad_input("there is no certificate in it").on(file.display().to_string()));
    }
    Ok(certificates)
}
