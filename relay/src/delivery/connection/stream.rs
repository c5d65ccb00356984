//! The octets of a connection, in clear text or under TLS.

use std::io::{self, IoSlice};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A stream in one of its states.
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Taken for a handshake.
    Gone,
}

impl Stream {
    pub(super) async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(stream) => stream.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) async fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write_vectored(slices).await,
            Self::Tls(stream) => stream.write_vectored(slices).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(_) | Self::Gone => Ok(()),
            Self::Tls(stream) => stream.flush().await,
        }
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}
