//! What a client is connected by: TCP, or TLS over it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What could be done first, and with how many bytes.
pub enum Moved {
    Written(usize),
    Read(usize),
}

impl Stream {
    /// Appends what has come to `bytes`; waits for something. 0: no more comes. May be given up and asked
    /// again without loss.
    pub async fn read(&mut self, bytes: &mut Vec<u8>, at_once: usize) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => {
                // Memory is taken once there is something to put there: most clients are idle.
                stream.readable().await?;
                bytes.reserve(at_once);
                // Unlike `try_read_buf` it knows after less than was asked for that no more is there, which
                // saves asking the system for it before the next wait.
                stream.read_buf(bytes).await
            }
            Self::Tls(stream) => {
                bytes.reserve(at_once);
                stream.read_buf(bytes).await
            }
        }
    }

    /// Writes some of it, if that is possible without waiting.
    pub fn try_write(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        match self {
            Self::Plain(stream) => match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                written => Some(written),
            },
            Self::Tls(_) => None,
        }
    }

    /// Writes some of `bytes`, or if there are none has all that was written sent, which counts as 0; or else appends
    /// what has come to `buffer`, as `read` does.
    pub async fn write_or_read(
        &mut self,
        bytes: &[u8],
        buffer: &mut Vec<u8>,
        at_once: usize,
    ) -> io::Result<Moved> {
        buffer.reserve(at_once);
        match self {
            Self::Plain(stream) => write_or_read(stream, bytes, buffer).await,
            Self::Tls(stream) => write_or_read(stream, bytes, buffer).await,
        }
    }

    /// Writes some of `bytes`, or if there are none has all that was written sent, which counts as 0.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => write(stream, bytes).await,
            Self::Tls(stream) => write(stream, bytes).await,
        }
    }

    /// False: what was written is on its way.
    pub fn keeps_back(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() { stream.flush().await.map(|()| 0) } else { stream.write(bytes).await }
}

async fn write_or_read(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<Moved> {
    poll_fn(|context| {
        let written = match bytes {
            [] => pin!(stream.flush()).poll(context).map_ok(|()| 0),
            bytes => pin!(stream.write(bytes)).poll(context),
        };
        if written.is_ready() {
            return written.map_ok(Moved::Written);
        }
        pin!(stream.read_buf(buffer)).poll(context).map_ok(Moved::Read)
    })
    .await
}
