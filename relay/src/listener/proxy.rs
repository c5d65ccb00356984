//! Reads the PROXY header at the start of a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use relay_smtp::proxy::{self, Origin, Progress};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A proxy has its header ready when it connects.
const HEADER: Duration = Duration::from_secs(10);

/// Where a connection comes from: the client, or `peer` when the proxy speaks for itself. Reads the
/// header and nothing after it.
pub(super) async fn origin<S: AsyncRead + Unpin>(
    stream: &mut S,
    peer: SocketAddr,
) -> io::Result<SocketAddr> {
    match tokio::time::timeout(HEADER, read(stream)).await {
        Ok(Ok(Origin::Client(client))) => {
            Ok(SocketAddr::new(client.ip().to_canonical(), client.port()))
        }
        Ok(Ok(Origin::Proxy)) => Ok(peer),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "no PROXY header came in time",
        )),
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Origin> {
    let mut header = Vec::with_capacity(proxy::LONGEST_TEXT);
    loop {
        match proxy::parse(&header).map_err(io::Error::other)? {
            Progress::Done(origin) => return Ok(origin),
            Progress::Need(more) => {
                let mut part = stream.take(more as u64);
                if part.read_buf(&mut header).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    fn peer() -> SocketAddr {
        "10.0.0.1:999".parse().unwrap()
    }

    #[tokio::test]
    async fn what_follows_the_header_is_left_in_the_stream() {
        let (mut theirs, mut ours) = tokio::io::duplex(1000);
        theirs
            .write_all(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5 25\r\n\x16\x03\x01")
            .await
            .unwrap();
        let client = origin(&mut ours, peer()).await.unwrap();
        assert_eq!(client, "192.0.2.7:5".parse().unwrap());
        let mut rest = [0; 3];
        ours.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, *b"\x16\x03\x01");
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_says_nothing_or_nonsense_is_not_waited_for() {
        let (mut theirs, mut ours) = tokio::io::duplex(1000);
        theirs.write_all(b"PROXY UNK").await.unwrap();
        let error = origin(&mut ours, peer()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        theirs.write_all(b"X").await.unwrap();
        theirs.shutdown().await.unwrap();
        let error = origin(&mut ours, peer()).await.unwrap_err();
        assert!(error.to_string().contains("does not begin"), "{error}");
        let error = origin(&mut ours, peer()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
