//! Which proxy a request goes through: the variables that every program of this field reads.

use crate::base::{Error, Result};

/// The proxy variables. Names in lower case win, as everywhere; `HTTP_PROXY` in capitals is not read, since a CGI server
/// sets it from what a client says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `http_proxy`
    pub http: Option<String>,
    /// `https_proxy`, `HTTPS_PROXY`
    pub https: Option<String>,
    /// `all_proxy`, `ALL_PROXY`
    pub all: Option<String>,
    /// `no_proxy`, `NO_PROXY`: hosts and domains, separated by commas; `*` is all.
    pub none: Option<String>,
}

impl Proxies {
    /// The proxy for a URL, if it goes through one.
    pub(super) fn of(&self, url: &str) -> Result<Option<ureq::Proxy>> {
        let own = if url.starts_with("https:") { &self.https } else { &self.http };
        let Some(proxy) = own.as_ref().or(self.all.as_ref()) else { return Ok(None) };
        if self.is_excepted(host(url)) {
            return Ok(None);
        }
        // The proxy's address may hold a password, which is nobody's to read.
        ureq::Proxy::new(proxy).map(Some).map_err(|e| {
            Error::usage(format!("the proxy variable is no address of a proxy: {e}")).hint("write http://HOST:PORT")
        })
    }

    fn is_excepted(&self, host: &str) -> bool {
        let listed =
            self.none.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        listed.into_iter().any(|entry| {
            let entry = entry.trim_start_matches("*.").trim_start_matches('.');
            let inside = host.len().checked_sub(entry.len()).and_then(|at| host.get(..at));
            entry == "*"
                || host.eq_ignore_ascii_case(entry)
                || inside
                    .is_some_and(|before| before.ends_with('.') && host[before.len()..].eq_ignore_ascii_case(entry))
        })
    }
}

/// The host in a URL, without user and port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((address, _)) => address,
        None => address.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (url, expected) in [
            ("https://a.example/x", "a.example"),
            ("http://me:pw@a.example:80/x@y", "a.example"),
            ("https://[::1]:8443/", "::1"),
            ("https://a.example?x", "a.example"),
        ] {
            assert_eq!(host(url), expected);
        }
    }

    #[test]
    fn which_proxy() {
        let text = |text: &str| Some(text.to_owned());
        let proxies = Proxies {
            http: text("http://one:1"),
            https: text("http://two:2"),
            all: None,
            none: text("localhost, .inner.example,127.0.0.1,"),
        };
        let port = |url: &str| proxies.of(url).unwrap().map(|proxy| proxy.port());
        assert_eq!(port("http://a.example/"), Some(1));
        assert_eq!(port("https://a.example/"), Some(2));
        for direct in ["http://localhost:80/", "https://LOCALHOST/", "http://x.inner.example/", "http://inner.example"]
        {
            assert_eq!(port(direct), None, "{direct}");
        }
        assert_eq!(port("http://dinner.example/"), Some(1));
        let all = Proxies { all: text("http://three:3"), none: text("x"), ..Proxies::default() };
        assert_eq!(all.of("https://a.example/").unwrap().unwrap().port(), 3);
        assert!(Proxies { none: text("*"), ..all }.of("https://a.example/").unwrap().is_none());
        assert!(Proxies { http: text("::"), ..Proxies::default() }.of("http://a.example/").is_err());
    }
}
