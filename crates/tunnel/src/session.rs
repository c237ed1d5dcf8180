//! The protocol of a session as a value, without clock and socket: what was sent, received, acknowledged, and may be sent.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use crate::frame::{Frame, Kind, LONGEST, Violation};
use crate::limits::Limits;

/// What a frame takes in memory beside its payload, as it is counted.
const OVERHEAD: usize = 64;
/// Frames that may wait to be acknowledged before no connection is opened.
const FRAMES: usize = 1 << 14;
/// Frames that may wait to be acknowledged at all. More wait only for a side that does not keep to the protocol.
const ALL_FRAMES: usize = 8 * FRAMES;
/// The longest name of a target, and the longest reason.
const LONGEST_TEXT: usize = 1 << 10;
/// An acknowledgement is sent by itself once so many frames have come without one.
const UNTOLD: u64 = 16;

/// What has changed for a connection, by something that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It was opened by the other side, to this target.
    Opened(u32, String),
    /// There is something to [`Session::read`].
    Readable(u32),
    /// More may be written.
    Writable(u32),
    /// More may be written on any of them.
    AllWritable,
}

/// What a connection has for its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// Bytes.
    Data(Bytes),
    /// The other side sends no more.
    Finished,
    /// The other side has ended the connection, for this reason.
    Reset(String),
    /// Nothing yet.
    Nothing,
}

#[derive(Debug)]
struct Stream {
    /// What may be sent.
    credit: u32,
    /// What was received and not taken.
    inbox: BytesMut,
    /// What the other side may have sent without its being taken.
    window: u32,
    /// What was taken of it and not given back.
    taken: usize,
    has_finished: bool,
    was_finished: bool,
    reset: Option<String>,
}

/// One side of a session.
#[derive(Debug)]
pub(crate) struct Session {
    limits: Limits,
    /// Whether this side opens connections; the other one then does not.
    opens: bool,
    streams: BTreeMap<u32, Stream>,
    /// The highest connection so far.
    last_stream: u32,
    /// Numbered frames that were not acknowledged, the first of this number.
    kept: VecDeque<Bytes>,
    first: u64,
    kept_bytes: usize,
    /// How many of them went to the present transport.
    sent: usize,
    /// The number of the last frame that came, and the last that was acknowledged.
    received: u64,
    told: u64,
    /// Bytes that have come since.
    untold: usize,
    is_over: bool,
    /// By how much windows have grown.
    grown: usize,
}

impl Session {
    /// A session that begins. Of its two sides one opens connections.
    pub(crate) fn new(limits: Limits, opens: bool) -> Self {
        Self {
            limits,
            opens,
            streams: BTreeMap::new(),
            last_stream: 0,
            kept: VecDeque::new(),
            first: 1,
            kept_bytes: 0,
            sent: 0,
            received: 0,
            told: 0,
            untold: 0,
            is_over: false,
            grown: 0,
        }
    }

    /// How many frames have come.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Begins on a new transport, the other side having received so many frames.
    pub(crate) fn attach(&mut self, received: u64) -> Result<(), Violation> {
        self.acknowledged(received)?;
        self.sent = 0;
        (self.told, self.untold) = (self.received, 0);
        Ok(())
    }

    /// Whether a connection can be opened now.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_over
            && self.streams.len() < self.limits.streams
            && self.kept.len() < FRAMES
            && self.last_stream < u32::MAX
    }

    /// Whether it has ended: nothing can be opened any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Opens a connection to `host:port`, if there is room.
    pub(crate) fn open(&mut self, target: &str) -> Option<u32> {
        if !self.has_room() || target.len() > LONGEST_TEXT {
            return None;
        }
        self.last_stream += 1;
        let id = self.last_stream;
        self.streams.insert(id, Stream::new(self.limits.window));
        self.push(Kind::Open, id, target.as_bytes());
        Some(id)
    }

    /// How many bytes can be written to a connection now; none to one that is over for writing.
    pub(crate) fn capacity(&self, id: u32) -> Option<usize> {
        let stream = self.streams.get(&id)?;
        if stream.has_finished || stream.reset.is_some() {
            return None;
        }
        let room = self
            .limits
            .unacknowledged
            .saturating_sub(self.kept_bytes + OVERHEAD);
        Some(room.min(stream.credit as usize).min(LONGEST))
    }

    /// Writes to a connection; no more than its capacity.
    pub(crate) fn write(&mut self, id: u32, bytes: &[u8]) {
        let Some(capacity) = self.capacity(id) else {
            return;
        };
        debug_assert!(bytes.len() <= capacity, "more than there is room for");
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.credit -= u32::try_from(bytes.len()).unwrap_or(stream.credit);
            self.push(Kind::Data, id, bytes);
        }
    }

    /// Writes no more to a connection.
    pub(crate) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.has_finished
            && stream.reset.is_none()
        {
            stream.has_finished = true;
            self.push(Kind::Finish, id, &[]);
        }
    }

    /// Takes what has come for a connection: the bytes first, then how it ended.
    pub(crate) fn read(&mut self, id: u32) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Read::Reset("the session has ended".to_owned());
        };
        if stream.inbox.is_empty() {
            return match &stream.reset {
                Some(why) => Read::Reset(why.clone()),
                None if stream.was_finished => Read::Finished,
                None => Read::Nothing,
            };
        }
        let bytes = stream
            .inbox
            .split_to(stream.inbox.len().min(LONGEST))
            .freeze();
        stream.taken += bytes.len();
        if stream.taken >= stream.window as usize / 2
            && !stream.was_finished
            && stream.reset.is_none()
        {
            let taken = std::mem::take(&mut stream.taken);
            let mut more = u32::try_from(taken).unwrap_or(stream.window);
            // Its reader keeps up: what bounds it is how long an answer is under way.
            let wider = stream
                .window
                .min(self.limits.largest_window - stream.window);
            if stream.inbox.len() <= stream.window as usize / 4
                && self.grown + wider as usize <= self.limits.growth
            {
                self.grown += wider as usize;
                stream.window += wider;
                more += wider;
            }
            self.push(Kind::Window, id, &more.to_be_bytes());
        }
        Read::Data(bytes)
    }

    /// Whether the other side has ended a connection.
    pub(crate) fn was_reset(&self, id: u32) -> bool {
        self.streams
            .get(&id)
            .is_none_or(|stream| stream.reset.is_some())
    }

    /// Ends a connection on this side. The other one is told, unless both had finished or it was the one to end it.
    pub(crate) fn close(&mut self, id: u32, why: &str) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        self.grown -= (stream.window - self.limits.window) as usize;
        if !stream.is_over() {
            let end = why.floor_char_boundary(LONGEST_TEXT);
            self.push(Kind::Reset, id, &why.as_bytes()[..end]);
        }
    }

    /// Ends every connection for this reason: the session is over.
    pub(crate) fn end(&mut self, why: &str) {
        for stream in self.streams.values_mut() {
            stream.reset.get_or_insert_with(|| why.to_owned());
        }
        self.is_over = true;
        self.kept.clear();
        (self.kept_bytes, self.sent) = (0, 0);
    }

    /// Takes what came on the transport, as far as it is whole.
    pub(crate) fn receive(&mut self, bytes: &mut BytesMut) -> Result<Vec<Change>, Violation> {
        let mut changes = Vec::new();
        while let Some(frame) = Frame::decode(bytes)? {
            if frame.kind == Kind::Acknowledge {
                if self.acknowledged(frame.number)? {
                    changes.push(Change::AllWritable);
                }
                continue;
            }
            let expected = self.received + 1;
            if frame.number != expected {
                let got = frame.number;
                return Err(Violation::Number { expected, got });
            }
            self.received = expected;
            self.untold += frame.payload.len() + OVERHEAD;
            changes.extend(self.take(frame)?);
        }
        if self.kept.len() > ALL_FRAMES {
            return Err(Violation::Unacknowledged);
        }
        Ok(changes)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Change>, Violation> {
        let (id, payload) = (frame.stream, frame.payload);
        let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
        if frame.kind == Kind::Open {
            if self.opens || id != self.last_stream + 1 {
                return Err(Violation::Stream(id));
            }
            self.last_stream = id;
            // Those that are over for the side that opens do not count for it, and may take a moment to end here.
            let live = self.streams.values().filter(|stream| !stream.is_over());
            if live.count() >= self.limits.streams || self.streams.len() >= 2 * self.limits.streams
            {
                self.push(
                    Kind::Reset,
                    id,
                    b"the relay has as many connections as it may",
                );
                return Ok(None);
            }
            self.streams.insert(id, Stream::new(self.limits.window));
            return Ok(Some(Change::Opened(id, text(&payload))));
        }
        if id == 0 || id > self.last_stream {
            return Err(Violation::Stream(id));
        }
        // One that has ended on this side, which the other one did not know yet.
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(None);
        };
        if stream.reset.is_some() {
            return Ok(None);
        }
        Ok(Some(match frame.kind {
            Kind::Data => {
                let held = stream.inbox.len() + stream.taken;
                if stream.was_finished || held + payload.len() > stream.window as usize {
                    return Err(Violation::Window(id));
                }
                // Copied: what came in one piece with it is of other connections, and may be gone long before.
                stream.inbox.extend_from_slice(&payload);
                Change::Readable(id)
            }
            Kind::Finish => {
                stream.was_finished = true;
                Change::Readable(id)
            }
            Kind::Reset => {
                stream.reset = Some(text(&payload));
                Change::Readable(id)
            }
            Kind::Window => {
                let more = payload.as_ref().try_into().map(u32::from_be_bytes);
                let more = more.map_err(|_| Violation::Window(id))?;
                let credit = stream.credit.checked_add(more);
                stream.credit = credit.ok_or(Violation::Window(id))?;
                Change::Writable(id)
            }
            Kind::Open | Kind::Acknowledge => return Ok(None),
        }))
    }

    /// Whether bytes were freed by it.
    fn acknowledged(&mut self, number: u64) -> Result<bool, Violation> {
        let sent = self.first + self.kept.len() as u64 - 1;
        let violation = Violation::Acknowledged { sent, got: number };
        // One of before is of no use, and of before what was known no side says.
        let known = self.first - 1;
        if number < known || number > sent {
            return Err(violation);
        }
        let count = usize::try_from(number - known).unwrap_or(usize::MAX);
        for frame in self.kept.drain(..count) {
            self.kept_bytes -= frame.len() + OVERHEAD;
        }
        self.first += count as u64;
        self.sent = self.sent.saturating_sub(count);
        Ok(count > 0)
    }

    fn push(&mut self, kind: Kind, stream: u32, payload: &[u8]) {
        let number = self.first + self.kept.len() as u64;
        let frame = Frame::encode(kind, stream, number, payload);
        self.kept_bytes += frame.len() + OVERHEAD;
        self.kept.push_back(frame);
    }

    /// Whether there is something to send that should not wait for the next heartbeat.
    pub(crate) fn has_to_send(&self) -> bool {
        self.sent < self.kept.len()
            || self.received >= self.told + UNTOLD
            || self.untold >= self.limits.unacknowledged / 4
    }

    /// Takes what is to be sent on the present transport, about `most` bytes of it; an acknowledgement goes with it, or by itself
    /// where there is nothing else.
    pub(crate) fn send(&mut self, most: usize) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.extend_from_slice(&Frame::encode(Kind::Acknowledge, 0, self.received, &[]));
        (self.told, self.untold) = (self.received, 0);
        while let Some(frame) = self.kept.get(self.sent)
            && bytes.len() < most
        {
            bytes.extend_from_slice(frame);
            self.sent += 1;
        }
        bytes
    }

    /// What is held, in bytes: for the other side, and for readers.
    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let waiting = self.streams.values().map(|stream| stream.inbox.len());
        (self.kept_bytes, waiting.sum())
    }
}

impl Stream {
    /// Whether the other side expects nothing more of it.
    fn is_over(&self) -> bool {
        self.reset.is_some() || (self.has_finished && self.was_finished)
    }

    fn new(window: u32) -> Self {
        Self {
            credit: window,
            inbox: BytesMut::new(),
            window,
            taken: 0,
            has_finished: false,
            was_finished: false,
            reset: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: fn() -> Limits = || Limits {
        streams: 4,
        unacknowledged: 4 << 10,
        window: 1 << 10,
        largest_window: 4 << 10,
        growth: 8 << 10,
        ..Limits::default()
    };

    /// One side with what it has done and seen.
    struct Side {
        session: Session,
        written: BTreeMap<u32, Vec<u8>>,
        seen: BTreeMap<u32, Vec<u8>>,
        finished: BTreeMap<u32, bool>,
        /// What of its is on the line.
        line: BytesMut,
        byte: u8,
    }

    impl Side {
        fn new(opens: bool) -> Self {
            Self {
                session: Session::new(LIMITS(), opens),
                written: BTreeMap::new(),
                seen: BTreeMap::new(),
                finished: BTreeMap::new(),
                line: BytesMut::new(),
                byte: 0,
            }
        }

        fn write(&mut self, id: u32, length: usize) {
            let Some(capacity) = self.session.capacity(id) else {
                return;
            };
            let bytes: Vec<u8> = (0..length.min(capacity))
                .map(|_| {
                    self.byte = self.byte.wrapping_mul(31).wrapping_add(17);
                    self.byte
                })
                .collect();
            self.session.write(id, &bytes);
            self.written.entry(id).or_default().extend(bytes);
        }

        /// Takes the first thing that has come for a connection; whether there was any.
        fn read(&mut self, id: u32) -> bool {
            match self.session.read(id) {
                Read::Data(bytes) => {
                    self.seen.entry(id).or_default().extend_from_slice(&bytes);
                    true
                }
                Read::Finished => {
                    self.finished.insert(id, true);
                    false
                }
                Read::Reset(why) => {
                    self.session.close(id, &why);
                    false
                }
                Read::Nothing => false,
            }
        }

        fn ids(&self) -> Vec<u32> {
            self.session.streams.keys().copied().collect()
        }
    }

    /// Two sides and the line between them.
    struct Pair([Side; 2]);

    impl Pair {
        fn new() -> Self {
            Self([Side::new(true), Side::new(false)])
        }

        /// What side `from` has to send goes onto the line, and `most` bytes of what is there arrive.
        fn deliver(&mut self, from: usize, most: usize) {
            let bytes = self.0[from].session.send(1 << 10);
            self.0[from].line.extend_from_slice(&bytes);
            let length = self.0[from].line.len().min(most);
            let arrived = self.0[from].line.split_to(length);
            let to = &mut self.0[1 - from];
            // What has come in part stays on the other side's end of the line.
            let mut rest = BytesMut::from(&arrived[..]);
            to.session
                .receive(&mut rest)
                .expect("it keeps to the protocol");
            let mut line = rest;
            line.extend_from_slice(&self.0[from].line);
            self.0[from].line = line;
        }

        /// The transport is lost with all that is on it, and there is another one.
        fn cut(&mut self) {
            let received = [0, 1].map(|side| self.0[side].session.received());
            for side in [0, 1] {
                self.0[side].line.clear();
                let attached = self.0[side].session.attach(received[1 - side]);
                attached.expect("both know what they have");
            }
        }

        fn settle(&mut self) {
            for _ in 0..400 {
                for side in [0, 1] {
                    self.deliver(side, usize::MAX);
                    for id in self.0[side].ids() {
                        while self.0[side].read(id) {}
                    }
                }
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open,
        Write(usize, u32, usize),
        Read(usize, u32),
        Finish(usize, u32),
        Close(usize, u32),
        Deliver(usize, usize),
        Cut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (side, id) = (0..2_usize, 1..6_u32);
        let step = prop_oneof![
            1 => Just(Step::Open),
            8 => (side.clone(), id.clone(), 1..3_000_usize).prop_map(|(side, id, length)| Step::Write(side, id, length)),
            4 => (side.clone(), id.clone()).prop_map(|(side, id)| Step::Read(side, id)),
            1 => (side.clone(), id.clone()).prop_map(|(side, id)| Step::Finish(side, id)),
            1 => (side.clone(), id).prop_map(|(side, id)| Step::Close(side, id)),
            8 => (side, 0..3_000_usize).prop_map(|(side, length)| Step::Deliver(side, length)),
            2 => Just(Step::Cut),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn whatever_is_cut_when_no_byte_is_lost_repeated_or_reordered(steps in steps()) {
            let mut pair = Pair::new();
            let mut closed = Vec::new();
            for step in steps {
                match step {
                    Step::Open => drop(pair.0[0].session.open("target:1")),
                    Step::Write(side, id, length) => pair.0[side].write(id, length),
                    Step::Read(side, id) => drop(pair.0[side].read(id)),
                    Step::Finish(side, id) => pair.0[side].session.finish(id),
                    Step::Close(side, id) => {
                        if pair.0[side].session.streams.contains_key(&id) {
                            pair.0[side].session.close(id, "enough");
                            closed.push(id);
                        }
                    }
                    Step::Deliver(side, most) => pair.deliver(side, most),
                    Step::Cut => pair.cut(),
                }
                for side in &pair.0 {
                    let (kept, waiting) = side.session.held();
                    let limits = LIMITS();
                    // Small frames beside the bytes: an opening, an end and a window for each connection.
                    prop_assert!(kept < limits.unacknowledged + 200 * 2 * (OVERHEAD + 32), "{}", kept);
                    prop_assert!(waiting <= 4 * limits.window as usize + limits.growth, "{}", waiting);
                }
            }
            pair.settle();
            for (from, to) in [(0, 1), (1, 0)] {
                for (id, written) in &pair.0[from].written {
                    let seen = pair.0[to].seen.get(id).cloned().unwrap_or_default();
                    if closed.contains(id) {
                        prop_assert!(written.starts_with(&seen), "connection {}", id);
                    } else {
                        prop_assert_eq!(written, &seen, "connection {}", id);
                        let ended = pair.0[from].session.streams[id].has_finished;
                        let told = pair.0[to].finished.contains_key(id);
                        prop_assert_eq!(ended, told, "connection {}", id);
                    }
                }
                let (kept, waiting) = pair.0[from].session.held();
                prop_assert_eq!((kept, waiting), (0, 0));
            }
        }

        #[test]
        fn whatever_comes_is_refused_or_taken_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 1..7_u8) {
            let mut session = Session::new(LIMITS(), false);
            let mut valid = BytesMut::from(&bytes[..]);
            drop(session.receive(&mut valid));
            let mut session = Session::new(LIMITS(), false);
            let kinds = [Kind::Acknowledge, Kind::Open, Kind::Data, Kind::Finish, Kind::Reset, Kind::Window];
            let open = Frame::encode(Kind::Open, 1, 1, b"a:1");
            let next = Frame::encode(kinds[usize::from(kind) - 1], 1, 2, &bytes);
            let mut both = BytesMut::from(&[&open[..], &next[..]].concat()[..]);
            drop(session.receive(&mut both));
        }
    }

    #[test]
    fn one_slow_reader_takes_its_window_and_no_other_connections() {
        let mut pair = Pair::new();
        let slow = pair.0[0].session.open("slow:1").expect("room");
        let fast = pair.0[0].session.open("fast:1").expect("room");
        for _ in 0..200 {
            for id in [slow, fast] {
                pair.0[0].write(id, 700);
            }
            for side in [0, 1] {
                pair.deliver(side, usize::MAX);
            }
            while pair.0[1].read(fast) {}
        }
        let taken = pair.0[1].seen[&fast].len();
        assert!(taken > 50_000, "{taken}");
        assert_eq!(pair.0[0].written[&slow].len(), LIMITS().window as usize);
    }

    #[test]
    fn more_than_a_window_is_a_violation() {
        let mut session = Session::new(LIMITS(), false);
        let open = Frame::encode(Kind::Open, 1, 1, b"a:1");
        let data = Frame::encode(Kind::Data, 1, 2, &[0; 1025]);
        let mut bytes = BytesMut::from(&[&open[..], &data[..]].concat()[..]);
        assert_eq!(session.receive(&mut bytes), Err(Violation::Window(1)));
    }

    #[test]
    fn a_session_that_has_ended_says_so_to_every_reader_and_opens_nothing() {
        let mut session = Session::new(LIMITS(), true);
        let id = session.open("a:1").expect("room");
        session.end("the relay is gone");
        assert_eq!(
            session.read(id),
            Read::Reset("the relay is gone".to_owned())
        );
        assert_eq!((session.capacity(id), session.open("a:1")), (None, None));
    }
}
