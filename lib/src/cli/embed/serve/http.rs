//! As much of HTTP/1.1 as a client on the same machine needs: requests with a length, one after the other.

use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const MAX_HEAD_BYTES: u64 = 32 << 10;
const MAX_BODY_BYTES: usize = 32 << 20;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
    /// The client asks no more after this.
    pub is_last: bool,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Response {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes() }
    }

    fn refusal(status: u16, what: &str) -> Self {
        super::openai::failure(status, what, None, "bad_request")
    }
}

pub(super) struct Connection<S = TcpStream> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Connection<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next request, or why it is none; `None` when the client is gone.
    pub fn next(&mut self) -> Option<Result<Request, Response>> {
        let mut lines = vec![];
        let mut head = self.stream.by_ref().take(MAX_HEAD_BYTES);
        loop {
            let mut line = String::new();
            match head.read_line(&mut line) {
                Ok(0) if lines.is_empty() && head.limit() > 0 => return None,
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return None,
                Ok(count) if count > 0 && line.ends_with('\n') => {}
                _ => return Some(Err(Response::refusal(400, "this is no HTTP request, or its head is too long"))),
            }
            let line = line.trim_end();
            if line.is_empty() && !lines.is_empty() {
                break;
            }
            if !line.is_empty() {
                lines.push(line.to_owned());
            }
        }
        Some(self.request(&lines))
    }

    fn request(&mut self, lines: &[String]) -> Result<Request, Response> {
        let refuse = |status, what: &str| Err(Response::refusal(status, what));
        let mut words = lines[0].split(' ');
        let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
            return refuse(400, "this is no HTTP request");
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
            return refuse(505, "this speaks HTTP/1.1");
        }
        let header = |name: &str| {
            let found = lines[1..].iter().filter_map(|line| line.split_once(':'));
            let mut found =
                found.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
            (found.next(), found.next().is_some())
        };
        // A page in a browser on this machine must not ask, under whatever name it reaches this port.
        if header("origin").0.is_some() {
            return refuse(403, "this answers programs, not pages in a browser");
        }
        let host = header("host").0.unwrap_or("localhost");
        let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
        if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
            return refuse(403, "this answers under the names localhost, 127.0.0.1 and [::1]");
        }
        if header("transfer-encoding").0.is_some() {
            return refuse(411, "say Content-Length");
        }
        let length = match header("content-length") {
            (None, _) => 0,
            (Some(text), false) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<usize>().unwrap_or(usize::MAX)
            }
            _ => return refuse(400, "Content-Length is one number"),
        };
        if length > MAX_BODY_BYTES {
            return refuse(413, "this is more than 32 MiB");
        }
        if header("expect").0.is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            let going_on = self.stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            going_on.map_err(|_| Response::refusal(400, "the client is gone"))?;
        }
        let mut body = vec![0; length];
        if self.stream.read_exact(&mut body).is_err() {
            return refuse(400, "the body is shorter than Content-Length says");
        }
        let connection = header("connection").0.unwrap_or_default();
        let is_last = connection.eq_ignore_ascii_case("close") || version == "HTTP/1.0";
        let path = path.split('?').next().unwrap_or_default().to_owned();
        Ok(Request { method: method.to_owned(), path, body, is_last })
    }

    pub fn respond(&mut self, response: &Response, is_last: bool) -> io::Result<()> {
        let reason = match response.status {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            _ => "Error",
        };
        let connection = if is_last { "close" } else { "keep-alive" };
        let mut bytes = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            response.status,
            response.body.len()
        )
        .into_bytes();
        bytes.extend(&response.body);
        self.stream.get_mut().write_all(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Both(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Both {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Both {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn all(text: &str) -> Vec<Result<Request, u16>> {
        let mut connection = Connection::new(Both(io::Cursor::new(text.as_bytes().to_vec()), vec![]));
        std::iter::from_fn(|| connection.next()).map(|r| r.map_err(|response| response.status)).take(4).collect()
    }

    #[test]
    fn requests_one_after_the_other() {
        let found = all("POST /v1/embeddings?x=1 HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 2\r\n\r\n{}\
                         GET /health HTTP/1.1\nConnection: close\n\n");
        let request = |method: &str, path: &str, body: &str, is_last| Request {
            method: method.into(),
            path: path.into(),
            body: body.into(),
            is_last,
        };
        assert_eq!(
            found,
            [Ok(request("POST", "/v1/embeddings", "{}", false)), Ok(request("GET", "/health", "", true))]
        );
        assert!(all("").is_empty());
    }

    #[test]
    fn what_is_refused() {
        for (head, status) in [
            ("nonsense", 400),
            ("GET / HTTP/2", 505),
            ("GET / HTTP/1.1\r\nHost: evil.example", 403),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: http://evil.example", 403),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
            ("POST / HTTP/1.1\r\nContent-Length: -1", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999", 413),
            ("POST / HTTP/1.1\r\nContent-Length: 5", 400),
        ] {
            assert_eq!(all(&format!("{head}\r\n\r\n"))[0].clone().unwrap_err(), status, "{head}");
        }
        assert_eq!(all(&"x".repeat(40_000))[0], Err(400));
        assert_eq!(all(&format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(9000)))[0], Err(400));
    }
}
