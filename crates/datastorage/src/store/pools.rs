//! Connections in three pools, so that no kind of work waits for another kind's connections.

use deadpool_postgres::{
    BuildError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use secrecy::ExposeSecret;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{session, tls};
use crate::config::DatabaseConfig;

/// What a connection is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A group of events: the lanes' and the drain's, one each, so nobody waits.
    Group,
    /// A short statement that a write or a probe waits for.
    Brief,
    /// Anything that may take long: reads and the catalogue.
    Long,
}

/// Lanes of the writer and the drain.
const GROUPS: usize = crate::audit::LANES + 1;
/// Enough for one statement that waits for a lock beside others that do not.
const BRIEF: usize = 3;

/// The pools; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    groups: Pool,
    brief: Pool,
    long: Pool,
}

impl Pools {
    /// For at most `config.max_connections` connections, but at least one for everything that may take long.
    pub(super) fn new(
        config: &DatabaseConfig,
        tls: &MakeRustlsConnect,
    ) -> Result<Self, BuildError> {
        let long = config.max_connections.saturating_sub(GROUPS + BRIEF).max(1);
        Ok(Self {
            groups: pool(config, tls, GROUPS)?,
            brief: pool(config, tls, BRIEF)?,
            long: pool(config, tls, long)?,
        })
    }

    pub(super) async fn get(&self, wanted: Use) -> Result<Object, PoolError> {
        match wanted {
            Use::Group => &self.groups,
            Use::Brief => &self.brief,
            Use::Long => &self.long,
        }
        .get()
        .await
    }

    /// Each pool's name, connections in use, and connections open.
    pub(super) fn connections(&self) -> [(&'static str, usize, usize); 3] {
        let count = |name, pool: &Pool| {
            let status = pool.status();
            let idle = status.available.min(status.size);
            (name, status.size - idle, status.size)
        };
        [
            count("writes", &self.groups),
            count("checks", &self.brief),
            count("reads", &self.long),
        ]
    }

    /// Closes idle connections.
    pub(super) fn renew(&self) {
        for pool in self.all() {
            pool.retain(|_, _| false);
        }
    }

    /// Closes all connections; calls in flight fail.
    pub(super) fn close(&self) {
        self.all().into_iter().for_each(Pool::close);
    }

    fn all(&self) -> [&Pool; 3] {
        [&self.groups, &self.brief, &self.long]
    }
}

fn pool(config: &DatabaseConfig, tls: &MakeRustlsConnect, size: usize) -> Result<Pool, BuildError> {
    let mut postgres = tokio_postgres::Config::new();
    postgres
        .host(&config.host)
        .port(config.port)
        .dbname(&config.name)
        .user(&config.user)
        .password(config.password.expose_secret())
        .application_name("datastorage")
        .ssl_mode(tls::mode(&config.tls))
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
        .post_create(session::prepare())
        .build()
}
