//! A connection for each call, bounded in time and closed after a failure.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use datastorage_api::DatabaseErrorKind;
use deadpool_postgres::{BuildError, Object};
use postgres_tls::{Connector, InvalidTls};

use super::error::StoreError;
use super::pools::{PoolConnections, Pools, Use};
use super::transaction::Failure;
use crate::config::DatabaseConfig;

/// Access to the database.
#[derive(Clone)]
pub(crate) struct Store {
    pools: Pools,
    tls: Connector,
    statement_timeout: Duration,
    /// Groups of events for which a repeat is likely; shared by clones.
    pub(super) repeats_expected: Arc<AtomicU32>,
}

/// What of an answer is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is read to its end.
    None,
    /// Nothing, but rows were among it that the connection would keep room for: it is closed.
    Room,
    /// Rows that nobody wants.
    Unread,
}

impl Rest {
    /// Of an answer that was read to its end, with rows of at most so many bytes.
    pub(super) fn after(largest: usize) -> Self {
        if largest > ROOM {
            Self::Room
        } else {
            Self::None
        }
    }
}

/// Bytes of a row that a connection may keep room for. The driver keeps as much as the largest row needed, for as long as the connection
/// is open.
const ROOM: usize = 256 << 10;

/// Why there can be no access to the database at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    /// No TLS.
    #[error("TLS to the database cannot be set up: {0}")]
    Tls(#[from] InvalidTls),
    /// No pool.
    #[error("the connections to the database cannot be set up: {0}")]
    Pool(#[from] BuildError),
}

impl Store {
    /// Access to the database for the drain and the lanes of so many workers. Connects when first used, so it starts whether or
    /// not the database is there.
    pub(crate) fn new(config: &DatabaseConfig, workers: usize) -> Result<Self, SetUpError> {
        let tls = Connector::new(&config.tls)?;
        Ok(Self {
            pools: Pools::new(config, workers, &tls)?,
            tls,
            statement_timeout: config.statement_timeout,
            repeats_expected: Arc::default(),
        })
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        self.reach(Use::Brief).await
    }

    /// Whether it answers a probe.
    pub(crate) async fn answers(&self) -> Result<(), StoreError> {
        self.reach(Use::Probe).await
    }

    async fn reach(&self, wanted: Use) -> Result<(), StoreError> {
        self.run(wanted, "pg_class", async |client| {
            client.batch_execute("SELECT 1").await
        })
        .await
    }

    /// The connections of each pool, for metrics.
    pub(crate) fn connections(&self) -> [PoolConnections; 3] {
        self.pools.connections()
    }

    /// Closes idle connections, so that the next ones see what changed (the role's grants after a migration).
    pub(crate) fn renew(&self) {
        self.pools.renew();
    }

    /// Closes all connections; calls in flight fail.
    pub(crate) fn close(&self) {
        self.pools.close();
    }

    /// Runs `work`, which commits nothing, as [`Store::transact`] does.
    pub(super) async fn run<T>(
        &self,
        wanted: Use,
        relation: &'static str,
        work: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        self.transact(wanted, relation, async |client| Ok(work(client).await?))
            .await
    }

    /// Runs `work` on a connection within the statement timeout. After an error, a timeout, or when the caller goes away, the
    /// connection is closed rather than reused: it may be in a transaction, or wait for an answer that never comes.
    pub(super) async fn transact<T>(
        &self,
        wanted: Use,
        relation: &'static str,
        work: impl AsyncFnOnce(&Object) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        self.read(wanted, relation, async |client| {
            Ok((work(client).await?, Rest::None))
        })
        .await
    }

    /// As [`Store::transact`], for work that may leave a part of an answer unread; then the statement is cancelled and the
    /// connection closed, so that PostgreSQL works on nothing that nobody reads.
    pub(super) async fn read<T>(
        &self,
        wanted: Use,
        relation: &'static str,
        work: impl AsyncFnOnce(&Object) -> Result<(T, Rest), Failure>,
    ) -> Result<T, StoreError> {
        let client = self
            .pools
            .get(wanted)
            .await
            .map_err(|error| StoreError::pool(error, relation))?;
        let lent = Lent {
            client: Some(client),
            tls: &self.tls,
        };
        match tokio::time::timeout(self.statement_timeout, work(lent.client())).await {
            Ok(Ok((value, Rest::None))) => {
                lent.give_back();
                Ok(value)
            }
            Ok(Ok((value, Rest::Room))) => {
                lent.discard();
                Ok(value)
            }
            Ok(Ok((value, Rest::Unread))) => Ok(value),
            Ok(Err(Failure { error, in_doubt })) => {
                lent.discard();
                let mut error = StoreError::postgres(&error, relation);
                error.in_doubt = in_doubt;
                Err(self.explain(error).await)
            }
            Err(_) => Err(StoreError::timeout(relation, self.statement_timeout)),
        }
    }

    /// Distinguishes a table whose migration was reverted from one that never existed (D19): the next step differs.
    async fn explain(&self, mut error: StoreError) -> StoreError {
        if error.kind == DatabaseErrorKind::RelationMissing
            && self.is_reverted(&error.relation).await == Some(true)
        {
            error.kind = DatabaseErrorKind::RelationReverted;
        }
        error
    }

    /// Whether the ledger holds a reverted migration of `relation`; none where there is no ledger to ask.
    async fn is_reverted(&self, relation: &str) -> Option<bool> {
        const UNDONE: &str = "
            SELECT EXISTS (SELECT FROM schema_ledger WHERE reverted_at IS NOT NULL AND starts_with(id, $1))";
        let asked = async {
            let client = self.pools.get(Use::Brief).await.ok()?;
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
struct Lent<'a> {
    client: Option<Object>,
    tls: &'a Connector,
}

impl Lent<'_> {
    fn client(&self) -> &Object {
        self.client.as_ref().expect("lent until it is given back")
    }

    /// Closes a connection whose statement has ended.
    fn discard(mut self) {
        drop(self.client.take().map(Object::take));
    }

    fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let (cancel, tls) = (client.cancel_token(), self.tls.clone());
            tokio::spawn(async move {
                let asked = tokio::time::timeout(CANCEL_TIMEOUT, cancel.cancel_query(tls)).await;
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
            .field("pools", &self.pools)
            .finish_non_exhaustive()
    }
}
