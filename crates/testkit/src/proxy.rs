//! A TCP proxy on 127.0.0.1 that delays, cuts, resets, half-closes or swallows what goes through it.
//!
//! Latency does not limit throughput: bytes in flight are queued with their due time, as on a long line.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Chunks queued per direction; with 16 KiB each, 16 MiB on the line.
const QUEUE: usize = 1024;
/// Delays up to this are kept to the fraction of a millisecond.
const SHORT: Duration = Duration::from_millis(5);
const CHUNK: usize = 16 * 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server behind the proxy.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// FIN to both sides; what is on the line is lost.
    Close,
    /// RST to both sides.
    Reset,
}

/// What the proxy does at the moment; connections follow every change.
#[derive(Debug, Clone)]
struct State {
    delay: Duration,
    jitter: Duration,
    frozen: bool,
    accepting: bool,
    /// Connections with a lower number are ended in this way.
    ended: (u64, End),
    /// Writing in this direction is over for connections with a lower number.
    half_closed: (u64, Option<Direction>),
    /// What comes after these bytes in this direction is not delivered.
    held: Option<(Direction, Arc<[u8]>)>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    next: AtomicU64,
    open: AtomicUsize,
    /// Connections of which something is held back.
    holding: AtomicUsize,
    /// Bytes delivered to the server and to the client.
    delivered: [AtomicU64; 2],
    cuts: Mutex<Cuts>,
}

/// Who is cut after how many bytes.
#[derive(Debug)]
struct Cuts {
    random: StdRng,
    /// The next connection's budget, once.
    next: Option<(Direction, u64)>,
    /// Upper bound of random budgets for every later connection.
    up_to: Option<u64>,
}

/// A running proxy; dropping it ends its connections and frees the port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts a proxy to `upstream` (`host:port`) on a free port, forwarding at once; it lives on the current runtime.
    pub async fn start(upstream: impl Into<String>) -> Self {
        Self::seeded(upstream, 0).await
    }

    /// As [`Proxy::start`], with the seed for [`Proxy::cut_randomly`] and for jitter.
    pub async fn seeded(upstream: impl Into<String>, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("127.0.0.1 has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let state = State {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            frozen: false,
            accepting: true,
            ended: (0, End::Close),
            half_closed: (0, None),
            held: None,
        };
        let cuts = Cuts {
            random: StdRng::seed_from_u64(seed),
            next: None,
            up_to: None,
        };
        let shared = Arc::new(Shared {
            state: watch::channel(state).0,
            next: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            holding: AtomicUsize::new(0),
            delivered: [AtomicU64::new(0), AtomicU64::new(0)],
            cuts: Mutex::new(cuts),
        });
        let task = tokio::spawn(accept(listener, upstream.into(), Arc::clone(&shared)));
        Self {
            address,
            shared,
            task,
        }
    }

    /// Returns where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `url` with its host and port replaced by the proxy's, and everything else as it was.
    pub fn url(&self, url: &str) -> String {
        let (scheme, rest) = url
            .split_once("://")
            .unwrap_or_else(|| panic!("{url:?} is not a URL"));
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority
            .rsplit_once('@')
            .map_or(String::new(), |(user, _)| format!("{user}@"));
        format!("{scheme}://{user}{}{path}", self.address)
    }

    /// Holds bytes back for `one_way` in each direction, so that a round trip takes twice as long.
    pub fn delay(&self, one_way: Duration) {
        self.change(|state| state.delay = one_way);
    }

    /// Adds up to `jitter` to each chunk's delay, by the seed; bytes stay in order.
    pub fn jitter(&self, jitter: Duration) {
        self.change(|state| state.jitter = jitter);
    }

    /// Delivers nothing more in either direction and keeps connections open, new ones included, until [`Proxy::heal`].
    ///
    /// Like a lost route: nobody gets an error, and what was sent meanwhile arrives afterwards.
    pub fn blackhole(&self) {
        self.change(|state| state.frozen = true);
    }

    /// Closes all connections (FIN), with what is on the line lost; new ones are taken.
    pub fn cut(&self) {
        self.end_all(End::Close);
    }

    /// Resets all connections (RST); new ones are taken.
    pub fn reset(&self) {
        self.end_all(End::Reset);
    }

    /// Resets all connections, and new ones as soon as they are opened, until [`Proxy::heal`].
    pub fn down(&self) {
        self.change(|state| state.accepting = false);
        self.end_all(End::Reset);
    }

    /// Takes connections again after [`Proxy::down`], and changes nothing else.
    pub fn up(&self) {
        self.change(|state| state.accepting = true);
    }

    /// Ends the stream in one direction on all connections; the other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        let next = self.shared.next.load(Ordering::SeqCst);
        self.change(|state| state.half_closed = (next, Some(direction)));
    }

    /// Resets the next connection once exactly `bytes` have been delivered in `direction`.
    pub fn cut_next_after(&self, direction: Direction, bytes: u64) {
        self.shared.cuts().next = Some((direction, bytes));
    }

    /// Resets every later connection after 1 to `bytes` bytes in one direction; the seed decides how many and which way.
    pub fn cut_randomly(&self, bytes: u64) {
        self.shared.cuts().up_to = Some(bytes.max(1));
    }

    /// Holds back whatever comes after `bytes` in `direction`, on every connection where they appear, until [`Proxy::heal`].
    ///
    /// Like a line that becomes slow in the middle of an exchange; `bytes` themselves are delivered.
    pub fn hold_after(&self, direction: Direction, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "there is something to look for");
        self.change(|state| state.held = Some((direction, bytes.into())));
    }

    /// Returns on how many connections something is held back now.
    pub fn holding(&self) -> usize {
        self.shared.holding.load(Ordering::SeqCst)
    }

    /// Takes back delay, blackhole, `down`, what is held, and cuts of later connections.
    pub fn heal(&self) {
        let mut cuts = self.shared.cuts();
        (cuts.next, cuts.up_to) = (None, None);
        drop(cuts);
        self.change(|state| {
            (state.delay, state.jitter) = (Duration::ZERO, Duration::ZERO);
            (state.frozen, state.accepting) = (false, true);
            state.held = None;
        });
    }

    /// Returns how many connections are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Returns how many connections were taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.next.load(Ordering::SeqCst)
    }

    /// Returns how many bytes were delivered in `direction` so far.
    pub fn delivered(&self, direction: Direction) -> u64 {
        self.shared.delivered[direction as usize].load(Ordering::SeqCst)
    }

    fn end_all(&self, end: End) {
        let next = self.shared.next.load(Ordering::SeqCst);
        self.change(|state| state.ended = (next, end));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.shared.state.send_modify(change);
    }
}

impl Shared {
    fn cuts(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns after how many bytes the connection that begins now is cut.
    fn budget(&self) -> Option<(Direction, u64)> {
        let mut cuts = self.cuts();
        let random = cuts.up_to.map(|up_to| {
            let direction = if cuts.random.random() {
                Direction::ToServer
            } else {
                Direction::ToClient
            };
            (direction, cuts.random.random_range(1..=up_to))
        });
        cuts.next.take().or(random)
    }

    fn due(&self) -> Instant {
        let (delay, jitter) = {
            let state = self.state.borrow();
            (state.delay, state.jitter)
        };
        let jitter = if jitter.is_zero() {
            jitter
        } else {
            self.cuts().random.random_range(Duration::ZERO..=jitter)
        };
        Instant::now() + delay + jitter
    }
}

async fn accept(listener: TcpListener, upstream: String, shared: Arc<Shared>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let number = shared.next.fetch_add(1, Ordering::SeqCst);
        if !shared.state.borrow().accepting {
            // Whether the reset arrives is not the proxy's to know.
            client.set_zero_linger().ok();
            continue;
        }
        let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let guard = Count::new(&shared.open);
            // An error ends the connection, which is all that its two sides would see of a real one.
            connect_and_forward(client, &upstream, &shared, number)
                .await
                .ok();
            drop(guard);
        });
    }
}

/// Counts what is alive.
struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The last bytes of one direction, since what is looked for may lie across two chunks.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Returns where in `chunk` the bytes that are looked for end, if they do.
    fn end_of(
        &mut self,
        held: Option<&(Direction, Arc<[u8]>)>,
        direction: Direction,
        chunk: &[u8],
    ) -> Option<usize> {
        let (_, wanted) = held.filter(|(of, _)| *of == direction)?;
        let before = self.0.len();
        self.0.extend_from_slice(chunk);
        let found = self
            .0
            .windows(wanted.len())
            .position(|window| window == &**wanted);
        let keep = self.0.len().saturating_sub(wanted.len() - 1);
        self.0.drain(..keep);
        found.map(|start| start + wanted.len() - before)
    }
}

async fn connect_and_forward(
    client: TcpStream,
    upstream: &str,
    shared: &Shared,
    number: u64,
) -> io::Result<()> {
    let budget = shared.budget();
    let mut state = shared.state.subscribe();
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let of = |direction| {
        budget
            .filter(|(cut, _)| *cut == direction)
            .map(|(_, bytes)| bytes)
    };
    let mut to_server = Line {
        read: client_read,
        write: server_write,
        direction: Direction::ToServer,
        left: of(Direction::ToServer),
    };
    let mut to_client = Line {
        read: server_read,
        write: client_write,
        direction: Direction::ToClient,
        left: of(Direction::ToClient),
    };
    let end = {
        let forward = async {
            // Both to their end, unless one of them is cut.
            let ended = tokio::try_join!(
                to_server.forward(shared, number),
                to_client.forward(shared, number)
            );
            if ended.is_ok() {
                End::Close
            } else {
                End::Reset
            }
        };
        tokio::select! {
            end = forward => end,
            ended = state.wait_for(|state| number < state.ended.0) => ended.map_or(End::Close, |state| state.ended.1),
        }
    };
    if end == End::Reset {
        for line in [to_server, to_client] {
            line.write.as_ref().set_zero_linger()?;
            // Dropped, it would send a FIN first.
            line.write.forget();
        }
    }
    Ok(())
}

/// One direction of one connection.
struct Line {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    direction: Direction,
    /// Bytes until the connection is cut.
    left: Option<u64>,
}

/// The budget of a connection is used up.
struct Cut;

impl Line {
    async fn forward(&mut self, shared: &Shared, number: u64) -> Result<(), Cut> {
        let Self {
            read,
            write,
            direction,
            left,
        } = self;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reading = async move {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = read.read(&mut buffer).await {
                if sender
                    .send((shared.due(), buffer[..length].to_vec()))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        };
        let writing = deliver(receiver, write, *direction, left, shared, number);
        // The end of reading is not the end: what is in the queue is still on the line.
        tokio::select! {
            done = writing => done,
            never = async { reading.await; std::future::pending().await } => never,
        }
    }
}

/// The runtime's timer counts in whole milliseconds, which would double a short round trip: a thread waits those out.
async fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > SHORT {
        tokio::time::sleep(left).await;
    } else if !left.is_zero() {
        tokio::task::spawn_blocking(move || std::thread::sleep(left))
            .await
            .ok();
    }
}

async fn deliver(
    mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
    write: &mut OwnedWriteHalf,
    direction: Direction,
    left: &mut Option<u64>,
    shared: &Shared,
    number: u64,
) -> Result<(), Cut> {
    let mut state = shared.state.subscribe();
    let mut seen = Tail::default();
    let closed =
        move |state: &State| number < state.half_closed.0 && state.half_closed.1 == Some(direction);
    loop {
        let next = tokio::select! {
            next = queue.recv() => next,
            _ = state.wait_for(closed) => None,
        };
        let Some((due, bytes)) = next else { break };
        wait_until(due).await;
        if state.wait_for(|state| !state.frozen).await.is_err() {
            break;
        }
        let allowed = left.map_or(bytes.len(), |left| {
            bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        let mut bytes = &bytes[..allowed];
        let held = state.borrow().held.clone();
        if let Some(end) = seen.end_of(held.as_ref(), direction, bytes) {
            let (first, rest) = bytes.split_at(end);
            if write.write_all(first).await.is_err() {
                break;
            }
            let guard = Count::new(&shared.holding);
            if state.wait_for(|state| state.held.is_none()).await.is_err() {
                break;
            }
            drop(guard);
            bytes = rest;
        }
        if write.write_all(bytes).await.is_err() {
            break;
        }
        shared.delivered[direction as usize].fetch_add(allowed as u64, Ordering::SeqCst);
        if let Some(left) = left {
            *left -= allowed as u64;
            if *left == 0 {
                return Err(Cut);
            }
        }
    }
    // The end of one side's stream is passed on; a side that is gone has its end already.
    write.shutdown().await.ok();
    Ok(())
}
