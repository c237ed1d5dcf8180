//! A client's connection, which is cut when the client does not take what it asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use crate::pace::Pace;

/// A connection whose writes end with an error once the client is too slow for them.
pub(crate) struct Line {
    stream: TcpStream,
    /// How far the client may fall behind.
    grace: Duration,
    /// While something waits to be written: how fast it goes, and when that is too slow.
    waiting: Option<(Pace, Pin<Box<Sleep>>)>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream, grace: Duration) -> Self {
        Self {
            stream,
            grace,
            waiting: None,
        }
    }

    /// What a write came to; one that has to wait is given up when the client is too slow.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let moved = match &written {
            Poll::Ready(Ok(bytes)) => *bytes,
            Poll::Ready(Err(_)) => return written,
            Poll::Pending => 0,
        };
        let (pace, timer) = match &mut self.waiting {
            Some(waiting) => waiting,
            None if written.is_ready() => return written,
            None => {
                let pace = Pace::new(self.grace);
                let timer = Box::pin(sleep_until(pace.slow_from()));
                self.waiting.insert((pace, timer))
            }
        };
        pace.moved(moved);
        timer.as_mut().reset(pace.slow_from());
        if written.is_ready() {
            return written;
        }
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not take its answer",
        )))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            // The next request: what was written before it is done with.
            self.waiting = None;
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
