//! PostgreSQL: the only module that holds SQL (D2).
//!
//! Every call waits a bounded time and answers with a [`StoreError`] that says whether the database is away, lacks a part of
//! the schema, or refuses the data.

mod error;
mod events;
mod notifications;
mod partitions;
mod query;
mod schema;
mod session;
mod workflows;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use datastorage_api::DatabaseErrorKind;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use secrecy::ExposeSecret;
use tokio_postgres::NoTls;

pub use self::error::StoreError;
pub use self::events::Inserted;
pub use self::notifications::Recorded;
pub use self::query::{EventFilter, Page, Position};
pub use self::schema::{Requirements, UnknownProfile};
pub use self::workflows::{
    Candidate, ChangedWorkflow, WorkflowChange, WorkflowFilter, WorkflowRow,
};
use crate::config::DatabaseConfig;

/// Access to the database.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    statement_timeout: Duration,
    /// Groups of events for which a repeat is likely; shared by clones.
    repeats_expected: Arc<AtomicU32>,
}

impl Store {
    /// A pool for the database. Connects when first used, so it starts whether or not the database is there.
    pub fn new(config: &DatabaseConfig) -> Result<Self, deadpool_postgres::BuildError> {
        let mut postgres = tokio_postgres::Config::new();
        postgres
            .host(&config.host)
            .port(config.port)
            .dbname(&config.name)
            .user(&config.user)
            .password(config.password.expose_secret())
            .application_name("datastorage")
            .connect_timeout(config.connect_timeout)
            .keepalives_idle(Duration::from_secs(15))
            .tcp_user_timeout(config.statement_timeout);
        let manager = Manager::from_config(
            postgres,
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(config.max_connections)
            .timeouts(Timeouts {
                wait: Some(config.statement_timeout),
                // Name resolution and log-in come on top of the connect timeout.
                create: Some(config.connect_timeout * 2),
                recycle: Some(config.connect_timeout),
            })
            .runtime(Runtime::Tokio1)
            .post_create(session::prepare())
            .build()?;
        Ok(Self {
            pool,
            statement_timeout: config.statement_timeout,
            repeats_expected: Arc::default(),
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run("pg_class", async |client| {
            client.batch_execute("SELECT 1").await
        })
        .await
    }

    /// Connections in use and open, for metrics.
    pub fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size - status.available.min(status.size), status.size)
    }

    /// Closes idle connections, so that the next ones see what changed (the role's grants after a migration).
    pub fn renew(&self) {
        self.pool.retain(|_, _| false);
    }

    /// Closes all connections; calls in flight fail.
    pub fn close(&self) {
        self.pool.close();
    }

    /// Runs `work` on a connection within the statement timeout. After an error, a timeout, or when the caller goes away, the
    /// connection is closed rather than reused: it may be in a transaction, or wait for an answer that never comes.
    async fn run<T>(
        &self,
        relation: &'static str,
        work: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let client = self
            .pool
            .get()
            .await
            .map_err(|error| StoreError::pool(error, relation))?;
        let lent = Lent(Some(client));
        match tokio::time::timeout(self.statement_timeout, work(lent.client())).await {
            Ok(Ok(value)) => {
                lent.give_back();
                Ok(value)
            }
            Ok(Err(error)) => {
                lent.discard();
                Err(self.explain(StoreError::postgres(&error, relation)).await)
            }
            Err(_) => Err(StoreError::timeout(relation, self.statement_timeout)),
        }
    }

    /// Tells a table whose migration was undone from one that never was there (D19): the next move differs.
    async fn explain(&self, mut error: StoreError) -> StoreError {
        if error.kind == DatabaseErrorKind::RelationMissing
            && self.is_reverted(&error.relation).await == Some(true)
        {
            error.kind = DatabaseErrorKind::RelationReverted;
        }
        error
    }

    /// Whether the ledger holds an undone migration of `relation`; none where there is no ledger to ask.
    async fn is_reverted(&self, relation: &str) -> Option<bool> {
        const UNDONE: &str = "
            SELECT EXISTS (SELECT FROM schema_ledger WHERE reverted_at IS NOT NULL AND starts_with(id, $1))";
        let asked = async {
            let client = self.pool.get().await.ok()?;
            client
                .query_one(UNDONE, &[&relation])
                .await
                .ok()?
                .try_get(0)
                .ok()
        };
        let answer = tokio::time::timeout(self.statement_timeout, asked).await;
        answer.ok().flatten()
    }
}

/// How long the request to cancel a statement may take.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that goes back to the pool when it is given back. Dropped, because its statement took too long or its client
/// went away, it is closed and the statement cancelled, or PostgreSQL would work on for nobody.
struct Lent(Option<Object>);

impl Lent {
    fn client(&self) -> &Object {
        self.0.as_ref().expect("lent until it is given back")
    }

    /// Closes a connection whose statement has ended.
    fn discard(mut self) {
        drop(self.0.take().map(Object::take));
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            let cancel = client.cancel_token();
            tokio::spawn(async move {
                let asked = tokio::time::timeout(CANCEL_TIMEOUT, cancel.cancel_query(NoTls)).await;
                if !matches!(asked, Ok(Ok(()))) {
                    tracing::debug!("a statement could not be cancelled");
                }
            });
            drop(Object::take(client));
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}
