//! A session that several tasks share: the one that carries it on a transport, and those of its connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;

use crate::frame::Violation;
use crate::limits::Limits;
use crate::session::{Change, Read, Session};

/// What wakes the two directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    readable: Notify,
    writable: Notify,
}

/// A session with what wakes its tasks.
#[derive(Debug)]
pub(crate) struct Hub {
    limits: Limits,
    session: Mutex<Session>,
    bells: Mutex<BTreeMap<u32, Arc<Bells>>>,
    /// There is something to send.
    outgoing: Notify,
    /// There may be room for another connection.
    room: Notify,
}

/// A connection of a session. Dropped, it is over.
#[derive(Debug)]
pub(crate) struct Stream {
    hub: Arc<Hub>,
    id: u32,
    bells: Arc<Bells>,
    /// Why, where it ends before its time.
    why: Mutex<String>,
}

/// A panic elsewhere leaves a value as it was last written.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// A session that begins.
    pub(crate) fn new(limits: Limits, opens: bool) -> Arc<Self> {
        Arc::new(Self {
            limits,
            session: Mutex::new(Session::new(limits, opens)),
            bells: Mutex::default(),
            outgoing: Notify::new(),
            room: Notify::new(),
        })
    }

    /// Its limits.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many frames have come.
    pub(crate) fn received(&self) -> u64 {
        lock(&self.session).received()
    }

    /// Begins on a new transport.
    pub(crate) fn attach(&self, received: u64) -> Result<(), Violation> {
        lock(&self.session).attach(received)?;
        self.wake_all();
        Ok(())
    }

    /// Ends every connection. None can be opened any more.
    pub(crate) fn end(&self, why: &str) {
        lock(&self.session).end(why);
        self.wake_all();
        self.room.notify_waiters();
    }

    /// Opens a connection once there is room; none in a session that has ended.
    pub(crate) async fn open(self: &Arc<Self>, target: &str) -> Option<Stream> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let (id, is_over) = {
                let mut session = lock(&self.session);
                (session.open(target), session.is_over())
            };
            if is_over {
                return None;
            }
            if let Some(id) = id {
                let stream = self.stream(id);
                self.outgoing.notify_one();
                return Some(stream);
            }
            room.await;
        }
    }

    fn stream(self: &Arc<Self>, id: u32) -> Stream {
        let bells = Arc::<Bells>::default();
        lock(&self.bells).insert(id, Arc::clone(&bells));
        Stream {
            hub: Arc::clone(self),
            id,
            bells,
            why: Mutex::default(),
        }
    }

    /// Takes what came on the transport, wakes whom it concerns, and returns what was opened, to which targets.
    pub(crate) fn receive(
        self: &Arc<Self>,
        bytes: &mut BytesMut,
    ) -> Result<Vec<(Stream, String)>, Violation> {
        let (changes, has_to_send) = {
            let mut session = lock(&self.session);
            (session.receive(bytes)?, session.has_to_send())
        };
        let mut opened = Vec::new();
        for change in changes {
            match change {
                Change::Opened(id, target) => opened.push((self.stream(id), target)),
                Change::AllWritable => {
                    for bells in lock(&self.bells).values() {
                        bells.writable.notify_one();
                    }
                    self.room.notify_waiters();
                }
                Change::Readable(id) | Change::Writable(id) => {
                    if let Some(bells) = lock(&self.bells).get(&id) {
                        // A reset concerns both.
                        bells.readable.notify_one();
                        bells.writable.notify_one();
                    }
                }
            }
        }
        if has_to_send {
            self.outgoing.notify_one();
        }
        Ok(opened)
    }

    /// What is to be sent on the present transport, once there is something.
    pub(crate) async fn outgoing(&self, most: usize) -> BytesMut {
        loop {
            let outgoing = self.outgoing.notified();
            {
                let mut session = lock(&self.session);
                if session.has_to_send() {
                    return session.send(most);
                }
            }
            outgoing.await;
        }
    }

    /// What is sent where there is nothing to send.
    pub(crate) fn heartbeat(&self) -> BytesMut {
        lock(&self.session).send(0)
    }

    fn wake_all(&self) {
        for bells in lock(&self.bells).values() {
            bells.readable.notify_one();
            bells.writable.notify_one();
        }
        self.outgoing.notify_one();
    }
}

impl Stream {
    /// How many bytes can be written, once it is more than none; none if nothing can be written any more.
    pub(crate) async fn capacity(&self) -> Option<usize> {
        loop {
            match lock(&self.hub.session).capacity(self.id) {
                Some(0) => {}
                capacity => return capacity,
            }
            self.bells.writable.notified().await;
        }
    }

    /// Writes bytes, no more than its capacity. They may be fewer than were announced: only this task writes.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> Option<usize> {
        let mut session = lock(&self.hub.session);
        // Other connections may have used the room since.
        let capacity = session.capacity(self.id)?;
        bytes = &bytes[..bytes.len().min(capacity)];
        if !bytes.is_empty() {
            session.write(self.id, bytes);
            drop(session);
            self.hub.outgoing.notify_one();
        }
        Some(bytes.len())
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            self.capacity().await?;
            bytes = &bytes[self.write(bytes)?..];
        }
        Some(())
    }

    /// Writes no more.
    pub(crate) fn finish(&self) {
        lock(&self.hub.session).finish(self.id);
        self.hub.outgoing.notify_one();
    }

    /// What has come, once there is something.
    pub(crate) async fn read(&self) -> Read {
        loop {
            let (read, has_to_send) = {
                let mut session = lock(&self.hub.session);
                (session.read(self.id), session.has_to_send())
            };
            if has_to_send {
                self.hub.outgoing.notify_one();
            }
            match read {
                Read::Nothing => self.bells.readable.notified().await,
                read => return read,
            }
        }
    }

    /// Waits until the other side has reset it, whether or not all that came before has been read.
    pub(crate) async fn was_reset(&self) {
        loop {
            if lock(&self.hub.session).was_reset(self.id) {
                return;
            }
            self.bells.readable.notified().await;
        }
    }

    /// Ends it with a reset, for this reason.
    pub(crate) fn reset(self, why: impl Into<String>) {
        *lock(&self.why) = why.into();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let why = std::mem::take(&mut *lock(&self.why));
        lock(&self.hub.session).close(self.id, &why);
        lock(&self.hub.bells).remove(&self.id);
        self.hub.outgoing.notify_one();
        self.hub.room.notify_waiters();
    }
}
