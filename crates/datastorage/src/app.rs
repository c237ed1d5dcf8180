//! What the handlers share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datastorage_api::{DatabaseErrorKind, ReadinessStatus};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::availability::Availability;
use crate::body::{Answers, Bodies};
use crate::clock::Clock;
use crate::config::Config;
use crate::connections::Connections;
use crate::cursor::CursorKey;
use crate::gate::{self, Gate};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::process;
use crate::profile::Requirements;
use crate::queue::{Drain, Queue};
use crate::store::{Store, StoreError};

/// Pages that may be in memory at once.
const ANSWERS_AT_ONCE: usize = 4;
/// How often missing partitions are tried again until they are there.
const PARTITIONS_RETRY: Duration = Duration::from_secs(5);
/// How often metrics are folded.
const FOLD_EVERY: Duration = Duration::from_secs(2);
/// How often partitions are created ahead (D25).
const PARTITIONS_EVERY: Duration = Duration::from_hours(24);

/// One instance: its settings, the store, the queue.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) availability: Availability,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Gate,
    pub(crate) requirements: Requirements,
    pub(crate) profile: String,
    pub(crate) problem_base: String,
    pub(crate) bodies: Bodies,
    pub(crate) answers: Answers,
    pub(crate) cursors: CursorKey,
    pub(crate) clients: Arc<Connections>,
    /// The last look of a probe, and when it ended.
    pub(crate) probed: tokio::sync::Mutex<Option<(Instant, ReadinessStatus)>>,
    pub(crate) request_timeout: Duration,
    stopping: AtomicBool,
    /// Readiness saw an incomplete schema, so connections may lack the role that a migration grants.
    incomplete: AtomicBool,
    look_at_partitions: Notify,
    /// What will fail later, or is weaker than it should be, by what it is about.
    warnings: Mutex<BTreeMap<&'static str, String>>,
}

/// The tasks behind an [`App`], to be ended in order.
#[derive(Debug)]
pub(crate) struct Tasks {
    lanes: JoinSet<()>,
    background: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl App {
    /// Builds the instance and starts its tasks on the current runtime. Needs no database to be there.
    pub(crate) fn start(config: &Config, clock: Clock) -> anyhow::Result<(Arc<Self>, Tasks)> {
        let store = Store::new(&config.database, config.server.workers)?;
        let queue = Queue::open(config.queue.clone());
        if let Some(unavailable) = queue.unavailable() {
            tracing::warn!(%unavailable, "writes get a 503 instead of a 202 while the database is away; make the directory writable");
        }
        let availability = Availability::default();
        let metrics = Arc::new(Metrics::new());
        let app = Arc::new(Self {
            clock: clock.clone(),
            store: store.clone(),
            queue: queue.clone(),
            availability: availability.clone(),
            gate: Gate::new(&config.access, Arc::clone(&metrics)),
            metrics: Arc::clone(&metrics),
            requirements: config.requirements.clone(),
            profile: config.profile.clone(),
            problem_base: config.problem_base.clone(),
            bodies: Bodies::new(config.server.body_limit, config.server.read_timeout),
            answers: Answers::new(config.server.body_limit, ANSWERS_AT_ONCE),
            cursors: CursorKey::new(&config.database),
            clients: Connections::new(most_clients(config.server.max_connections)),
            probed: tokio::sync::Mutex::default(),
            request_timeout: config.server.write_timeout,
            stopping: AtomicBool::new(false),
            incomplete: AtomicBool::new(false),
            look_at_partitions: Notify::new(),
            warnings: Mutex::default(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut background = JoinSet::new();
        background.spawn(
            Drain {
                queue,
                store,
                availability,
                clock,
            }
            .run(stopped.clone()),
        );
        background.spawn(keep_partitions_ahead(Arc::clone(&app), stopped.clone()));
        background.spawn(gate::keep_current(
            config.access.clone(),
            metrics,
            stopped.clone(),
        ));
        background.spawn(fold_metrics(Arc::clone(&app), stopped));
        Ok((
            app,
            Tasks {
                lanes: JoinSet::new(),
                background,
                stop,
            },
        ))
    }

    /// An id for an event that came without one; version 7, so that neighbours in time are neighbours in the index.
    pub(crate) fn new_id() -> Uuid {
        Uuid::now_v7()
    }

    /// Operations on tables outside the profile answer as if the table were missing (D10, D28).
    pub(crate) fn require_table(&self, table: &str) -> Result<(), Problem> {
        if self.requirements.holds(table) {
            return Ok(());
        }
        let detail = format!(
            "this instance serves the profile {:?}, which does not hold {table}; set schema.profile to one that does",
            self.profile
        );
        Err(Problem::unavailable(detail).about(DatabaseErrorKind::RelationMissing, table))
    }

    /// Measures a read, and turns its failure into a problem.
    pub(crate) async fn timed<T>(
        &self,
        operation: &'static str,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Problem> {
        let timer = self.metrics.query_timer(operation);
        let result = read.await;
        timer.done(result.is_ok());
        result.map_err(|error| self.failed(&error))
    }

    /// The problem of a failure of the store; one of the database is noted.
    pub(crate) fn failed(&self, error: &StoreError) -> Problem {
        self.availability.read_failed(error);
        Problem::store(error)
    }

    /// From now on the instance says that it is not ready.
    pub(crate) fn stop_being_ready(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// What will fail later, or is weaker than it should be.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warned().values().cloned().collect()
    }

    /// From now on this is so of `what`, or nothing.
    fn warn(&self, what: &'static str, warning: Option<String>) {
        let mut warnings = self.warned();
        match warning {
            Some(warning) => warnings.insert(what, warning),
            None => warnings.remove(what),
        };
    }

    fn warned(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readiness saw the whole schema.
    pub(crate) fn on_ready(&self) {
        if self.incomplete.swap(false, Ordering::Relaxed) {
            self.store.renew();
        }
    }

    /// Readiness saw a schema that lacks something; a missing partition may be created from here.
    pub(crate) fn on_incomplete(&self) {
        self.incomplete.store(true, Ordering::Relaxed);
        self.look_at_partitions.notify_one();
    }
}

impl Tasks {
    /// Runs a lane on the runtime of its worker.
    pub(crate) fn run_lane(
        &mut self,
        lane: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        self.lanes.spawn_on(lane, runtime);
    }

    /// Ends the tasks after the last request was answered: lanes, then the drain, then queue and pool.
    pub(crate) async fn finish(mut self, app: Arc<App>) {
        let (store, queue) = (app.store.clone(), app.queue.clone());
        self.stop.send_replace(true);
        while self.background.join_next().await.is_some() {}
        drop(app);
        // A lane ends when its last writer is gone.
        while self.lanes.join_next().await.is_some() {}
        queue.close();
        store.close();
    }
}

/// Files that connections of clients leave for everything else.
const OTHER_FILES: usize = 100;

/// As many connections as are asked for and the process may have.
fn most_clients(asked: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count, and cut where it is larger"
    )]
    let files = process::most_files().map_or(usize::MAX, |files| files as usize);
    let most = asked.min(files.saturating_sub(OTHER_FILES).max(1));
    if most < asked {
        tracing::warn!(
            asked,
            most,
            "fewer connections of clients than server.max_connections: the process may open no more files (ulimit -n)"
        );
    }
    most
}

async fn fold_metrics(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(FOLD_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => app.metrics.fold(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// How often the log says again that partitions cannot be made.
const SAY_EVERY: Duration = Duration::from_mins(10);

/// Creates partitions at start, daily, and when readiness misses one. They are made three months ahead, so a failure is said, and
/// shown by a metric, long before a write fails for it.
async fn keep_partitions_ahead(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut said: Option<Instant> = None;
    let mut told = false;
    loop {
        let made = app.store.ensure_partitions(app.clock.now()).await;
        app.metrics.partitions_ahead(made.is_ok());
        let wait = match made {
            Ok(created) => {
                said = None;
                app.warn("partitions", None);
                if !created.is_empty() {
                    tracing::info!(
                        partitions = created.join(", "),
                        "partitions are created ahead"
                    );
                }
                if !told {
                    told = tell_append_only(&app).await;
                }
                PARTITIONS_EVERY
            }
            // The database away is said by whoever writes, and a schema that is not there yet by readiness.
            Err(error) if error.is_away() || error.kind == DatabaseErrorKind::RelationMissing => {
                tracing::debug!(%error, "partitions cannot be created ahead yet");
                PARTITIONS_RETRY
            }
            Err(error) => {
                let what = format!("partitions of audit_events cannot be created ahead: {error}");
                app.warn("partitions", Some(what));
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::error!(%error, sqlstate = error.sqlstate, "partitions of audit_events cannot be created ahead; run `migrate partitions`, or writes end with the last month that has one");
                }
                PARTITIONS_RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = app.look_at_partitions.notified() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Says in the log and by a metric whether the audit trail is append-only for this server (D31); false when that is not known.
async fn tell_append_only(app: &App) -> bool {
    match app.store.is_append_only().await {
        Ok(append_only) => {
            app.metrics.append_only(append_only);
            let what = "the audit trail is not append-only for this server: its login has not taken on the role datastorage_app";
            app.warn("append-only", (!append_only).then(|| what.to_owned()));
            if append_only {
                tracing::info!("the audit trail is append-only for this server");
            } else {
                tracing::warn!(
                    "this server may change and delete audit events: its login has not taken on the role datastorage_app; grant it: GRANT datastorage_app TO the login"
                );
            }
            true
        }
        Err(error) => {
            tracing::debug!(%error, "whether the audit trail is append-only is not known yet");
            false
        }
    }
}
