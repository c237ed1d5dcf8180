//! Connections in pools of their own, so that no kind of work waits for another kind's connections.

use std::iter;
use std::sync::Arc;

use deadpool_postgres::{
    BuildError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use secrecy::ExposeSecret;

use postgres_tls::Connector;

use super::session;
use crate::config::DatabaseConfig;

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A group of events.
    Group(Lane),
    /// A short statement that a write waits for.
    Brief,
    /// What a probe asks, whatever holds the others.
    Probe,
    /// Anything that may take long: reads and the catalogue.
    Long,
}

/// Who writes groups of events, over a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// What empties the queue.
    Drain,
    /// The worker of that number, from 0. Its connection is opened and read on its own thread.
    Worker(usize),
}

/// The drain writes one group after the other.
const DRAIN: usize = 1;
/// Enough for one statement that waits for a lock beside others that do not.
const BRIEF: usize = 3;
/// Probes share one look.
const PROBE: usize = 1;

/// The pools; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    drain: Pool,
    /// By the worker's number.
    workers: Arc<[Pool]>,
    brief: Pool,
    probe: Pool,
    long: Pool,
}

/// How many connections a pool has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolConnections {
    pub(crate) name: &'static str,
    pub(crate) in_use: usize,
    pub(crate) open: usize,
}

impl Pools {
    /// For at most `config.max_connections` connections, but one for each worker and at least one for everything that may take
    /// long.
    pub(super) fn new(
        config: &DatabaseConfig,
        workers: usize,
        tls: &Connector,
    ) -> Result<Self, BuildError> {
        let others = workers + DRAIN + BRIEF + PROBE;
        let long = config.max_connections.saturating_sub(others).max(1);
        Ok(Self {
            drain: pool(config, tls, DRAIN)?,
            workers: (0..workers)
                .map(|_| pool(config, tls, 1))
                .collect::<Result<_, _>>()?,
            brief: pool(config, tls, BRIEF)?,
            probe: pool(config, tls, PROBE)?,
            long: pool(config, tls, long)?,
        })
    }

    pub(super) async fn get(&self, wanted: Use) -> Result<Object, PoolError> {
        match wanted {
            Use::Group(Lane::Drain) => &self.drain,
            Use::Group(Lane::Worker(number)) => &self.workers[number],
            Use::Brief => &self.brief,
            Use::Probe => &self.probe,
            Use::Long => &self.long,
        }
        .get()
        .await
    }

    /// The connections of each pool.
    pub(super) fn connections(&self) -> [PoolConnections; 3] {
        [
            count("writes", self.writing()),
            count("checks", [&self.brief, &self.probe]),
            count("reads", [&self.long]),
        ]
    }

    /// Closes idle connections.
    pub(super) fn renew(&self) {
        self.all().for_each(|pool| {
            pool.retain(|_, _| false);
        });
    }

    /// Closes all connections; calls in flight fail.
    pub(super) fn close(&self) {
        self.all().for_each(Pool::close);
    }

    fn writing(&self) -> impl Iterator<Item = &Pool> {
        iter::once(&self.drain).chain(self.workers.iter())
    }

    fn all(&self) -> impl Iterator<Item = &Pool> {
        self.writing().chain([&self.brief, &self.probe, &self.long])
    }
}

fn count<'a>(name: &'static str, pools: impl IntoIterator<Item = &'a Pool>) -> PoolConnections {
    let mut connections = PoolConnections {
        name,
        in_use: 0,
        open: 0,
    };
    for pool in pools {
        let status = pool.status();
        connections.in_use += status.size - status.available.min(status.size);
        connections.open += status.size;
    }
    connections
}

fn pool(config: &DatabaseConfig, tls: &Connector, size: usize) -> Result<Pool, BuildError> {
    let mut postgres = tokio_postgres::Config::new();
    postgres
        .host(&config.host)
        .port(config.port)
        .dbname(&config.name)
        .user(&config.user)
        .password(config.password.expose_secret())
        .application_name("datastorage")
        .ssl_mode(config.tls.ssl_mode())
        .connect_timeout(config.connect_timeout)
        .keepalives_idle(std::time::Duration::from_secs(15))
        .tcp_user_timeout(config.statement_timeout);
    let recycling = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    Pool::builder(Manager::from_config(postgres, tls.clone(), recycling))
        .max_size(size)
        .timeouts(Timeouts {
            wait: Some(config.statement_timeout),
            // Name resolution and log-in come on top of the connect timeout.
            create: Some(config.connect_timeout * 2),
            recycle: Some(config.connect_timeout),
        })
        .runtime(Runtime::Tokio1)
        .post_create(session::prepare(config.connect_timeout))
        .build()
}
