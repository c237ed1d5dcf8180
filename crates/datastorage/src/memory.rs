//! Memory that clients share: taken as bytes come, waited for where it is short, taken back from those that are slow.
//!
//! What a client announces takes nothing, and a small part of each is never made to wait for the rest of another. Beyond that part
//! the oldest always gets what it needs to its end, so that large ones follow each other instead of waiting for each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::pace::Pace;

/// How far a client may fall behind when others wait for the memory that it holds.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes that take no turn.
const SMALL: usize = 256 << 10;

/// The memory of one kind of data.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Bytes of the largest share.
    largest: usize,
    state: Mutex<State>,
    /// Something was given back, or may be.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    /// By number: the oldest first.
    shares: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    standing: Standing,
    revoked: Arc<Notify>,
}

/// What a share is waiting for.
#[derive(Debug, Clone, Copy)]
enum Standing {
    /// Its client.
    Client(Pace),
    /// Memory.
    Memory,
    /// The server, which will end by itself.
    Server,
    /// To be given back.
    Revoked,
}

/// A part of the memory; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    number: u64,
    revoked: Arc<Notify>,
}

/// The memory was taken back: its client was too slow while others waited, or too many came at once.
#[derive(Debug)]
pub(crate) struct Revoked;

impl Memory {
    /// For shares of at most `largest` bytes, and `beside` for the others while there is one of these.
    pub(crate) fn new(largest: usize, beside: usize) -> Arc<Self> {
        Arc::new(Self {
            largest,
            state: Mutex::new(State {
                free: largest + beside,
                next: 0,
                shares: BTreeMap::new(),
            }),
            changed: Notify::new(),
        })
    }

    /// A share of nothing yet. `revoked` is notified when it has to be given back.
    pub(crate) fn share(self: &Arc<Self>, revoked: Arc<Notify>) -> Share {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let held = Held {
            bytes: 0,
            standing: Standing::Client(Pace::new(GRACE)),
            revoked: Arc::clone(&revoked),
        };
        state.shares.insert(number, held);
        drop(state);
        Share {
            memory: Arc::clone(self),
            number,
            revoked,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes `bytes` for the share, or makes room and says when to look again at the latest.
    fn take(&mut self, number: u64, bytes: usize, largest: usize) -> Result<(), Option<Instant>> {
        let oldest = self
            .shares
            .iter()
            .find(|(_, held)| held.bytes > SMALL && held.standing.may_need_more());
        let (oldest, reserved) = oldest.map_or((number, 0), |(oldest, held)| {
            (*oldest, largest.saturating_sub(held.bytes))
        });
        let fits = self.free >= bytes;
        let Some(own) = self.shares.get_mut(&number) else {
            return Ok(());
        };
        let in_turn = own.bytes + bytes <= SMALL || oldest == number;
        if fits && (in_turn || self.free - bytes >= reserved) {
            own.bytes += bytes;
            match &mut own.standing {
                Standing::Client(pace) => pace.moved(bytes),
                Standing::Memory => own.standing = Standing::Client(Pace::new(GRACE)),
                Standing::Server | Standing::Revoked => {}
            }
            self.free -= bytes;
            return Ok(());
        }
        own.standing = Standing::Memory;
        Err(self.make_room(number))
    }

    /// Takes memory back from clients that are slow; where nobody else will ever give any back, from the
    /// largest that waits, of several the oldest.
    fn make_room(&mut self, asking: u64) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut ends = false;
        for held in self.shares.values_mut().filter(|held| held.bytes > 0) {
            match held.standing {
                Standing::Client(pace) if pace.slow_from() <= now => {
                    held.revoke();
                    ends = true;
                }
                Standing::Client(pace) => {
                    next = Some(next.map_or(pace.slow_from(), |next| next.min(pace.slow_from())));
                    ends = true;
                }
                Standing::Server | Standing::Revoked => ends = true,
                Standing::Memory => {}
            }
        }
        if !ends {
            let waiting = self
                .shares
                .iter_mut()
                .filter(|(number, held)| **number != asking && held.bytes > 0);
            if let Some((_, held)) = waiting.rev().max_by_key(|(_, held)| held.bytes) {
                held.revoke();
            }
        }
        next
    }
}

impl Standing {
    fn may_need_more(self) -> bool {
        matches!(self, Self::Client(_) | Self::Memory)
    }
}

impl Held {
    fn revoke(&mut self) {
        self.standing = Standing::Revoked;
        self.revoked.notify_one();
    }
}

impl Share {
    /// Takes `bytes` more, which the client has sent or is about to get.
    pub(crate) async fn take(&self, bytes: usize) -> Result<(), Revoked> {
        loop {
            let mut changed = std::pin::pin!(self.memory.changed.notified());
            changed.as_mut().enable();
            let look_again = {
                let mut state = self.memory.state();
                if state.is_revoked(self.number) {
                    return Err(Revoked);
                }
                match state.take(self.number, bytes, self.memory.largest) {
                    Ok(()) => return Ok(()),
                    Err(look_again) => look_again,
                }
            };
            let slow = async {
                match look_again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = slow => {}
                () = self.revoked.notified() => return Err(Revoked),
            }
        }
    }

    /// Gives some back, so that `bytes` are left.
    pub(crate) fn shrink(&self, bytes: usize) {
        let mut state = self.memory.state();
        let state = &mut *state;
        if let Some(held) = state.shares.get_mut(&self.number) {
            let spare = held.bytes.saturating_sub(bytes);
            held.bytes -= spare;
            state.free += spare;
        }
        self.memory.changed.notify_waiters();
    }

    /// The client took or sent so many bytes.
    pub(crate) fn moved(&self, bytes: usize) {
        if let Some(held) = self.memory.state().shares.get_mut(&self.number)
            && let Standing::Client(pace) = &mut held.standing
        {
            pace.moved(bytes);
        }
    }

    /// From now on it is the server's turn.
    pub(crate) fn wait_for_server(&self) {
        self.stand(Standing::Server);
    }

    /// From now on it is the client's turn.
    pub(crate) fn wait_for_client(&self) {
        self.stand(Standing::Client(Pace::new(GRACE)));
    }

    /// Returns when the memory has to be given back.
    pub(crate) async fn revoked(&self) {
        self.revoked.notified().await;
    }

    fn stand(&self, standing: Standing) {
        if let Some(held) = self.memory.state().shares.get_mut(&self.number)
            && !matches!(held.standing, Standing::Revoked)
        {
            held.standing = standing;
        }
    }
}

impl State {
    fn is_revoked(&self, number: u64) -> bool {
        let held = self.shares.get(&number);
        held.is_some_and(|held| matches!(held.standing, Standing::Revoked))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        if let Some(held) = state.shares.remove(&self.number) {
            state.free += held.bytes;
        }
        drop(state);
        self.memory.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn share(memory: &Arc<Memory>) -> Share {
        memory.share(Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_memory_and_is_slow_gives_it_to_who_waits() {
        let memory = Memory::new(MIB, 0);
        let slow = share(&memory);
        slow.take(MIB).await.expect("free");
        let gives_way = tokio::spawn(async move {
            slow.revoked().await;
            drop(slow);
        });
        let other = share(&memory);
        other.take(1).await.expect("free again");
        gives_way.await.expect("the slow one was told");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_back_while_nobody_waits() {
        let memory = Memory::new(MIB, MIB / 2);
        let slow = share(&memory);
        slow.take(MIB / 2).await.expect("free");
        tokio::time::advance(GRACE * 100).await;
        let other = share(&memory);
        other.take(MIB / 2).await.expect("free");
        slow.take(0).await.expect("not revoked");
    }

    #[tokio::test(start_paused = true)]
    async fn large_ones_follow_each_other_and_small_ones_pass_them() {
        let memory = Memory::new(4 * MIB, MIB);
        let (first, second) = (share(&memory), share(&memory));
        first.take(MIB).await.expect("free");
        second.take(MIB).await.expect("beside the first");
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move {
                second.take(MIB).await.expect("after the first");
                drop(memory);
            }
        });
        tokio::task::yield_now().await;
        share(&memory).take(1000).await.expect("small ones pass");
        for _ in 0..3 {
            first.take(MIB).await.expect("the oldest gets all it needs");
        }
        first.wait_for_server();
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_wait_for_each_other_the_largest_gives_way() {
        let memory = Memory::new(2 * SMALL, 0);
        let (one, two, three) = (share(&memory), share(&memory), share(&memory));
        one.take(SMALL).await.expect("free");
        two.take(SMALL).await.expect("free");
        let more = async |share: Share| share.take(SMALL).await.is_ok();
        let (one, two) = tokio::join!(more(one), more(two));
        assert!(one != two, "one of them goes on");
        drop(three);
    }
}
