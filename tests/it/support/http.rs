//! GET over HTTP/1.1, which is all that the tests need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Status and body, or why there is no answer.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let (head, body) = get_as(address, path, "*/*")?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| format!("GET {path}: no status in {head:?}"))?;
    Ok((status, body))
}

/// Head (in small letters) and body for a header `Accept`, or why there is no answer.
pub fn get_as(address: SocketAddr, path: &str, accept: &str) -> Result<(String, String), String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("GET {path}: {error}"))?;
    let text = String::from_utf8(answer).map_err(|error| format!("GET {path}: {error}"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no end of the head")?;
    let head = head.to_ascii_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    Ok((head, if chunked { dechunk(body)? } else { body.to_owned() }))
}

fn dechunk(mut body: &str) -> Result<String, String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").ok_or("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(|error| error.to_string())?;
        if size == 0 {
            return Ok(whole);
        }
        whole.push_str(rest.get(..size).ok_or("a chunk that ends early")?);
        body = rest.get(size + 2..).ok_or("a chunk without an end")?;
    }
}
