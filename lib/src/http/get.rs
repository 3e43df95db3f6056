//! One GET, as often as it takes.

use super::{Network, roots};
use crate::base::{Error, Kind, Result};
use std::io::Read;
use std::time::{Duration, Instant};
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body};

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a whole download may take.
const WHOLE: Duration = Duration::from_secs(600);
/// How often a download that was cut off is gone on with, as long as each time brings something.
const ATTEMPTS: u32 = 5;

/// What came so far. Given to [`get`] again, only the rest is fetched, if the server still has the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partial {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// By what the server tells that it is the same file: a strong ETag or the time of the last change.
    pub validator: Option<String>,
}

/// Fetches `url` into `partial`, whole when this succeeds; `false` when the server has no such file. On failure `partial`
/// holds what came.
///
/// `on_bytes` hears how many bytes are there, and of how many if that is known, and says whether to go on.
pub fn get(
    url: &str,
    max_bytes: u64,
    network: &Network,
    partial: &mut Partial,
    on_bytes: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
) -> Result<bool> {
    let agent = agent(url, network)?;
    let deadline = Instant::now() + WHOLE;
    let mut attempt = 0;
    loop {
        let before = partial.bytes.len();
        match once(&agent, url, max_bytes, partial, on_bytes, deadline) {
            Ok(outcome) => return Ok(outcome),
            Err(Cut::Final(error)) => return Err(error.or_on(url)),
            Err(Cut::Again(error)) => {
                attempt += 1;
                let is_moving = partial.bytes.len() > before;
                if !is_moving || attempt >= ATTEMPTS || Instant::now() > deadline {
                    return Err(error.or_on(url));
                }
            }
        }
    }
}

/// Why an attempt ended: for good, or such that going on may help.
pub(super) enum Cut {
    Final(Error),
    Again(Error),
}

impl Cut {
    /// Why, when nobody goes on.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Final(error) | Self::Again(error) => error,
        }
    }
}

impl From<Error> for Cut {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

pub(super) fn agent(url: &str, network: &Network) -> Result<Agent> {
    let is_secret = url.starts_with("https:");
    if !is_secret && !url.starts_with("http:") {
        return Err(Error::usage("this is no address of a web server")
            .on(url)
            .hint("it begins with https:// or http://"));
    }
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(is_secret)
        .max_redirects(5)
        .user_agent(concat!("op-dbus/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(network.timeout.unwrap_or(CONNECT)))
        .timeout_per_read(Some(network.timeout.unwrap_or(SILENCE)))
        .timeout_per_write(Some(network.timeout.unwrap_or(SILENCE)))
        .timeout_global(Some(WHOLE))
        .proxy(network.proxies.of(url)?);
    // An address without secrets may lead to one with them, and then its server has to prove itself.
    let certificates = match roots::certificates(network.certificates.as_deref()) {
        Ok(certificates) => certificates,
        Err(error) if is_secret || network.certificates.is_some() => return Err(error),
        Err(_) => Vec::new(),
    };
    let roots = RootCerts::new_with_certs(&certificates);
    config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    Ok(config.build().new_agent())
}

fn once(
    agent: &Agent,
    url: &str,
    max_bytes: u64,
    partial: &mut Partial,
    on_bytes: &mut dyn FnMut(u64, Option<u64>) -> Result<()>,
    deadline: Instant,
) -> Result<bool, Cut> {
    let mut request = agent.get(url);
    let had = partial.bytes.len() as u64;
    match &partial.validator {
        Some(validator) if had > 0 => {
            request = request.header(header::RANGE, format!("bytes={had}-")).header(header::IF_RANGE, validator);
        }
        _ => partial.bytes.clear(),
    }
    let response = request.call().map_err(|e| failed(&e))?;
    match response.status() {
        StatusCode::OK => partial.bytes.clear(),
        StatusCode::PARTIAL_CONTENT if starts_at(&response) == Some(had) => {}
        // What was there is of no use: from the beginning.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if had > 0 => {
            *partial = Partial::default();
            return once(agent, url, max_bytes, partial, on_bytes, deadline);
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(false),
        status => {
            let what =
                format!("the server answers {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
            return Err(Error::new(Kind::Unavailable, what.trim_end().to_owned()).into());
        }
    }
    partial.validator = validator(&response);
    let start = partial.bytes.len() as u64;
    let total = response.body().content_length().map(|rest| start.saturating_add(rest));
    let too_large = || Error::untrusted(format!("it is larger than {max_bytes} bytes"));
    if total.is_some_and(|total| total > max_bytes) {
        return Err(too_large().into());
    }
    let mut body = response.into_body().into_with_config().limit(max_bytes - start.min(max_bytes) + 1).reader();
    let mut chunk = vec![0; 64 << 10];
    loop {
        on_bytes(partial.bytes.len() as u64, total)?;
        let count = match body.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if is_silence(&error) => {
                let what = Error::new(Kind::Timeout, "the server says nothing more");
                return Err(what.hint("try again: what came is kept; --timeout waits longer").into());
            }
            Err(error) => return Err(Cut::Again(unavailable(&format!("the download was cut off: {error}")))),
        };
        if partial.bytes.len() as u64 + count as u64 > max_bytes {
            return Err(too_large().into());
        }
        partial.bytes.extend_from_slice(&chunk[..count]);
        if Instant::now() > deadline {
            return Err(Error::new(Kind::Timeout, format!("it takes longer than {} s", WHOLE.as_secs())).into());
        }
    }
    match total {
        Some(total) if total != partial.bytes.len() as u64 => {
            Err(Cut::Again(unavailable(&format!("the download ends after {} of {total} bytes", partial.bytes.len()))))
        }
        _ => Ok(true),
    }
}

fn is_silence(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
    error.kind() == std::io::ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
}

fn unavailable(what: &str) -> Error {
    Error::new(Kind::Unavailable, what).hint("try again: what came is kept")
}

/// Why no answer came.
pub(super) fn failed(error: &ureq::Error) -> Cut {
    let (kind, what, hint) = match error {
        ureq::Error::Timeout(_) => (Kind::Timeout, "the server does not answer in time".to_owned(), "try again later"),
        ureq::Error::HostNotFound => (Kind::Unavailable, "there is no such host".to_owned(), "is the name right?"),
        ureq::Error::BadUri(why) => (Kind::Usage, format!("this is no address: {why}"), "is it right?"),
        ureq::Error::RequireHttpsOnly(to) => {
            let what = format!("the server leads to {to}, which is not https");
            (Kind::Untrusted, what, "use the address it should lead to")
        }
        // A certificate that is not believed is no failure of the network.
        ureq::Error::Rustls(why) => (
            Kind::Untrusted,
            format!("the server's certificate or its TLS is not accepted: {why}"),
            "SSL_CERT_FILE names other certificates to trust",
        ),
        ureq::Error::Io(why) if why.to_string().contains("certificate") => (
            Kind::Untrusted,
            format!("the server's certificate is not accepted: {why}"),
            "SSL_CERT_FILE names other certificates to trust",
        ),
        other => {
            (Kind::Unavailable, format!("the server cannot be reached: {other}"), "is it running, is the name right?")
        }
    };
    Cut::Final(Error::new(kind, what).hint(hint))
}

/// Where the part begins that a server sends.
fn starts_at(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn validator(response: &Response<Body>) -> Option<String> {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let strong = text(header::ETAG).filter(|tag| !tag.starts_with("W/"));
    strong.or_else(|| text(header::LAST_MODIFIED)).map(str::to_owned)
}
