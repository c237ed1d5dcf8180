//! What goes through a tunnel whose transport is cut, stalled or slow, on real sockets.

mod faults;
mod load;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::proxy::Proxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tunnel::{DialError, Event, Forward, Limits, Local, Relay};

/// Bound of every wait here.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// Limits whose times suit a test.
pub(crate) fn limits() -> Limits {
    Limits {
        heartbeat: Duration::from_millis(100),
        silence: Duration::from_millis(700),
        back_off: Duration::from_millis(200),
        ..Limits::default()
    }
}

/// A relay, a local end, and a line between them that can be hurt.
pub(crate) struct Tunnel {
    pub(crate) line: Proxy,
    pub(crate) local: Local,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Tunnel {
    pub(crate) async fn start(limits: Limits) -> Self {
        Self::to(&relay(limits).await.address, limits).await
    }

    /// A local end for the relay at this address.
    pub(crate) async fn to(relay: &str, limits: Limits) -> Self {
        let line = Proxy::start(relay).await;
        let (address, events) = (line.address(), Arc::<Mutex<Vec<Event>>>::default());
        let told = Arc::clone(&events);
        let dial = move || async move { TcpStream::connect(address).await.map_err(DialError::new) };
        let local = Local::start(limits, dial, move |event| {
            told.lock().expect("no panic").push(event);
        });
        Self {
            line,
            local,
            events,
        }
    }

    /// Forwards a port to a target; the port.
    pub(crate) async fn forward(&self, target: &str) -> (Forward, u16) {
        let listener = listener().await;
        let port = listener.local_addr().expect("it is bound").port();
        (self.local.forward(listener, target), port)
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().expect("no panic").clone()
    }

    /// Waits for an event like this one.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Event) -> bool) {
        testkit::wait::until(what, DEADLINE, async || {
            let events = self.events();
            if events.iter().any(&is) {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .await;
    }
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

/// A relay that runs.
pub(crate) struct Running {
    pub(crate) address: String,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts another one, which knows no session, in its place.
    pub(crate) async fn again(self, limits: Limits) -> Self {
        self.task.abort();
        self.task.await.expect_err("it serves for ever");
        serve(
            TcpListener::bind(&self.address).await.expect("its port"),
            limits,
        )
    }
}

/// A relay on a port of its own.
pub(crate) async fn relay(limits: Limits) -> Running {
    serve(listener().await, limits)
}

fn serve(listener: TcpListener, limits: Limits) -> Running {
    let address = listener.local_addr().expect("it is bound").to_string();
    let task = tokio::spawn(async move { Relay::new(limits).serve(listener).await });
    Running { address, task }
}

/// A server that sends back what it is sent; where it listens.
pub(crate) async fn echo() -> String {
    let listener = listener().await;
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
            });
        }
    });
    address
}
