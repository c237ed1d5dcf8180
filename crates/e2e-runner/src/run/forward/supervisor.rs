//! The tunnel's process: keeps `kubectl port-forward` to the relay running, the session over it, and the ports that lead into it.
//!
//! It runs from the copy of the tool in the run's directory, so that it outlives the tool, and is recorded and ended with the run's
//! processes. Killed with SIGKILL, its connections are reset and its ports closed; whoever asks for a port next starts it again, on the
//! same ports.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, TcpStream};
use tunnel::{AsyncDial, DialError, Event, Forward, Limits, Local};

use crate::exit::{Exit, Failure};
use crate::process::{Child, Runner, tail_of};
use crate::run::forward::journal::{CONNECTED, DROPPED, Journal, LOST, STARTED};
use crate::run::forward::port_forward::{self, is_gone, local_port};
use crate::run::forward::spec::{SPEC, Spec, Status, Target};
use crate::state::processes::end_labelled;

/// Between two looks at what is to be forwarded.
const LOOK: Duration = Duration::from_millis(100);
/// How long kubectl has to listen.
const LISTEN: Duration = Duration::from_secs(15);
/// Between two looks at what kubectl says.
const STEP: Duration = Duration::from_millis(5);
/// A process closes its sockets a moment before it can be seen to have ended.
const ENDING: Duration = Duration::from_millis(20);
/// How long the runtime has to end.
const END: Duration = Duration::from_secs(1);

/// What kubectl prints goes here, of its present life.
const KUBECTL_LOG: &str = "port-forward-kubectl.log";

/// What the parts of the process share.
struct Shared {
    dir: PathBuf,
    journal: Journal,
    status: Mutex<Status>,
    /// The kubectl that runs.
    kubectl: Mutex<Option<Child>>,
    /// Whether the relay was reached once: before that its pod may be on its way.
    has_connected: AtomicBool,
}

/// A panic elsewhere leaves a value as it was last written.
fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until a signal, or until the relay is gone or was away for too long, which is told in the run's directory.
pub fn supervise(runner: &Runner, dir: &Path) -> Result<(), Failure> {
    let runner = runner.clone().in_run(dir).map_err(Failure::setup)?;
    // That of an earlier life that was killed.
    end_labelled(dir, port_forward::LABEL).map_err(Failure::setup)?;
    let shared = Arc::new(Shared {
        dir: dir.to_owned(),
        journal: Journal::of(dir),
        status: Mutex::new(Status {
            pid: std::process::id().cast_signed(),
            ..Status::default()
        }),
        kubectl: Mutex::default(),
        has_connected: AtomicBool::new(false),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::setup)?;
    shared
        .journal
        .write(STARTED, &format!("process {}", lock(&shared.status).pid));
    let ended = runtime.block_on(keep(&runner, &shared));
    runtime.shutdown_timeout(END);
    if let Some(kubectl) = lock(&shared.kubectl).take() {
        kubectl.kill();
    }
    let why = ended.as_ref().err().map(|failure| failure.summary.clone());
    shared
        .journal
        .write("ended", why.as_deref().unwrap_or("by a signal"));
    shared.tell(|status| {
        (status.is_connected, status.ended) = (false, why);
        status.listening.clear();
    });
    ended
}

async fn keep(runner: &Runner, shared: &Arc<Shared>) -> Result<(), Failure> {
    let over = Arc::<Mutex<Option<String>>>::default();
    let (told, ends) = (Arc::clone(shared), Arc::clone(&over));
    let mut limits = Limits::default();
    let spec = Spec::read(&shared.dir).map_err(Failure::setup)?;
    if let Some(away) = spec.and_then(|spec| spec.away) {
        limits.away = Duration::from_secs(away);
    }
    let dialer = Dialer {
        runner: runner.clone(),
        shared: Arc::clone(shared),
    };
    let local = Local::start(limits, dialer, move |event| {
        if let Some(why) = told.take(event, limits.away) {
            lock(&ends).get_or_insert(why);
        }
    });
    let mut forwards = BTreeMap::new();
    let mut seen: Option<SystemTime> = None;
    loop {
        if runner.cancel().is_raised() {
            return Ok(());
        }
        if let Some(why) = lock(&over).take() {
            return Err(Failure::new(Exit::Setup, why).hint(
                "start the run again: what it asks the cluster for then says what is missing",
            ));
        }
        match std::fs::metadata(shared.dir.join(SPEC)).and_then(|file| file.modified()) {
            Ok(changed) if seen == Some(changed) => {}
            // A file that is replaced while it is read is read again at the next look.
            Ok(changed) => {
                if let Ok(Some(spec)) = Spec::read(&shared.dir) {
                    shared.apply(&spec, &local, &mut forwards).await;
                    seen = Some(changed);
                }
            }
            // The run has been removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Shared {
    /// Changes what is told, if there is a change.
    fn tell(&self, change: impl FnOnce(&mut Status)) {
        let mut status = lock(&self.status);
        let before = status.clone();
        change(&mut status);
        if *status != before {
            // Where that cannot be written, whoever waits for it says so at its deadline.
            drop(status.write(&self.dir));
        }
    }

    /// Takes an event of the session; returns why the tunnel ends with it, if it does.
    fn take(&self, event: Event, bound: Duration) -> Option<String> {
        match event {
            Event::Connected => {
                self.has_connected.store(true, Ordering::Relaxed);
                self.journal.write(CONNECTED, "");
                self.tell(|status| (status.is_connected, status.trouble) = (true, String::new()));
            }
            Event::Resumed { away } => {
                self.journal.resumed(away);
                self.tell(|status| (status.is_connected, status.trouble) = (true, String::new()));
            }
            Event::Lost { why } => {
                self.journal.write(LOST, &why);
                self.tell(|status| (status.is_connected, status.trouble) = (false, why));
            }
            Event::Failed { why } => {
                self.journal.write("waiting", &why);
                self.tell(|status| status.trouble = why);
            }
            Event::Dropped { why, away } => {
                let told = format!("after {:.1} s: {why}", away.as_secs_f64());
                self.journal.write(DROPPED, &told);
                self.tell(|status| status.trouble.clone_from(&why));
                if away >= bound {
                    return Some(format!(
                        "the relay was away for {} s: {why}",
                        away.as_secs()
                    ));
                }
                let was_there = self.has_connected.load(Ordering::Relaxed);
                return (was_there && is_gone(&why)).then_some(why);
            }
        }
        None
    }

    /// Listens on the ports that are to be forwarded, and on no other.
    async fn apply(
        &self,
        spec: &Spec,
        local: &Local,
        forwards: &mut BTreeMap<u16, (Target, Forward)>,
    ) {
        forwards.retain(|_, (target, _)| spec.forwards.contains(target));
        let mut refused = BTreeMap::new();
        for target in &spec.forwards {
            if forwards.contains_key(&target.local) {
                continue;
            }
            let leads = format!("{}:{}", target.host, target.port);
            match TcpListener::bind(("127.0.0.1", target.local)).await {
                Ok(listener) => {
                    let told = format!("127.0.0.1:{} for {leads}", target.local);
                    self.journal.write("listening", &told);
                    let forward = local.forward(listener, leads);
                    forwards.insert(target.local, (target.clone(), forward));
                }
                Err(error) => {
                    let told = format!("127.0.0.1:{} for {leads}: {error}", target.local);
                    self.journal.write("refused", &told);
                    refused.insert(target.local, error.to_string());
                }
            }
        }
        self.tell(|status| {
            status.listening = forwards.keys().copied().collect();
            status.refused = refused;
        });
    }
}

/// Gives a transport by a new `kubectl port-forward`, in place of the one that ran before.
struct Dialer {
    runner: Runner,
    shared: Arc<Shared>,
}

impl AsyncDial<TcpStream> for Dialer {
    async fn dial(&mut self) -> Result<TcpStream, DialError> {
        let (runner, shared) = (self.runner.clone(), Arc::clone(&self.shared));
        let port = tokio::task::spawn_blocking(move || shared.port_forward(&runner));
        let port = port.await.map_err(DialError::new)??;
        let transport = TcpStream::connect(("127.0.0.1", port)).await;
        let transport = transport.map_err(DialError::new)?;
        // It is as good without, only slower.
        transport.set_nodelay(true).ok();
        Ok(transport)
    }
}

impl Shared {
    /// Starts kubectl anew and returns the port on which it listens.
    fn port_forward(&self, runner: &Runner) -> Result<u16, DialError> {
        let mut running = lock(&self.kubectl);
        let log = self.dir.join(KUBECTL_LOG);
        if let Some(before) = running.take() {
            let began = Instant::now();
            let ended = loop {
                let died = before.died();
                if died.is_some() || began.elapsed() > ENDING {
                    break died;
                }
                std::thread::sleep(Duration::from_millis(1));
            };
            let told = ended.unwrap_or_else(|| {
                format!(
                    "is ended, since its connection is of no use\n{}",
                    tail_of(&log)
                )
            });
            self.journal.write("kubectl", &told);
            before.kill();
        }
        let spec = Spec::read(&self.dir).map_err(DialError::new)?;
        let spec = spec.ok_or_else(|| DialError::new("the run has no tunnel any more"))?;
        // What it printed in its earlier life would be taken for the new one's.
        drop(std::fs::remove_file(&log));
        let command = port_forward::command(runner, &spec);
        let child = command.spawn(&log).map_err(DialError::new)?;
        let began = Instant::now();
        let failed = loop {
            let printed = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(port) = local_port(&printed) {
                *running = Some(child);
                return Ok(port);
            }
            if child.died().is_some() {
                break tail_of(&log);
            }
            if runner.cancel().is_raised() || began.elapsed() > LISTEN {
                break format!("it did not listen for {} s\n{printed}", LISTEN.as_secs());
            }
            std::thread::sleep(STEP);
        };
        child.kill();
        Err(port_forward::failed(&spec, &failed))
    }
}
