//! A client of HTTP/1.1 on a bare socket: one request a connection, and every byte of it in the
//! test's hands.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// No answer takes longer: a query may run for two minutes, but none of a test does.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing but otherwise as sent.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text, decompressed where the server compressed it.
    ///
    /// # Panics
    /// Where it is no text.
    pub fn text(&self) -> String {
        let mut body = self.body.clone();
        if self.header("content-encoding") == Some("gzip") {
            body.clear();
            flate2::read::GzDecoder::new(self.body.as_slice())
                .read_to_end(&mut body)
                .expect("the body is what its encoding says");
        }
        String::from_utf8(body).expect("the body is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    pub fn json(&self) -> serde_json::Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }
}

/// Sends one request and reads the whole answer.
///
/// # Errors
/// Where the server cannot be reached, or hangs up without an answer.
pub fn send(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut head = head(to, method, target, headers);
    if !body.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    exchange(to, head.as_bytes(), body)
}

/// Sends a head that announces a body of `length` bytes, and no body; reads the answer.
///
/// # Errors
/// Where the server cannot be reached, or waits for the body.
pub fn announce(
    to: SocketAddr,
    target: &str,
    headers: &[(&str, &str)],
    length: u64,
) -> io::Result<Response> {
    let mut head = head(to, "POST", target, headers);
    head.push_str(&format!("Content-Length: {length}\r\n\r\n"));
    exchange(to, head.as_bytes(), b"")
}

fn head(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

fn exchange(to: SocketAddr, head: &[u8], body: &[u8]) -> io::Result<Response> {
    let mut socket = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    socket.set_write_timeout(Some(READ_TIMEOUT))?;
    // A server may refuse a body it has not read: its answer counts, not the broken pipe.
    let sent = socket.write_all(head).and_then(|()| socket.write_all(body));
    let mut answer = Vec::new();
    let got = socket.read_to_end(&mut answer);
    match parse(&answer) {
        Some(response) => Ok(response),
        None => {
            sent?;
            got?;
            let cut = format!("cut off after {} bytes of the answer", answer.len());
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut))
        }
    }
}

/// A whole answer; `None` where something of it is missing.
fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    let rest = &answer[end + 4..];
    response.body = if response.header("transfer-encoding") == Some("chunked") {
        unchunk(rest)?
    } else if let Some(length) = response.header("content-length") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    Some(response)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        let data = end + 2;
        body.extend_from_slice(rest.get(data..data + size)?);
        rest = rest.get(data + size + 2..)?;
    }
}

/// The pairs as a query string or form body.
pub fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    };
    let pairs = pairs.iter();
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}
