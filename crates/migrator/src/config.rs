//! The settings of a run: where the database is, what to apply, how long it may take, who listens.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::catalogue::Catalogue;
use crate::error::Error;
use crate::names::Names;
use crate::report::Event;
use crate::selection::Selection;
use crate::target::{Dialer, Encryptor, Lookup, Target};

/// How long a run may take by default.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Gets what happens, as it happens.
pub(crate) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// One run's settings. Made by [`Config::new`] or [`Config::with_dialer`] and refined by the methods below.
#[derive(Clone)]
pub struct Config {
    pub(crate) target: Target,
    pub(crate) selection: Selection,
    pub(crate) deadline: Duration,
    pub(crate) cancel: CancellationToken,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) names: Names,
    pub(crate) observer: Option<Observer>,
    pub(crate) plan_hash: Option<String>,
    pub(crate) again: Vec<String>,
    pub(crate) new_source: bool,
}

impl Config {
    /// A run of everything in `catalogue` on the database of a `postgres://` URL or a key-value connection string.
    ///
    /// A password may be part of it; without one, `PGPASSWORD` is used. Options are libpq's, and `search_path`; one that is not
    /// honoured is refused by its name. With `connect_timeout` a server that is not ready is waited for no longer than that. There
    /// is TLS where [`Config::tls`] brings it. A malformed URL is reported by the run.
    pub fn new(url: impl AsRef<str>, catalogue: impl Into<Arc<Catalogue>>) -> Self {
        Self::from_target(Target::parse(url.as_ref()), catalogue.into())
    }

    /// A run over streams that the caller opens: a tunnel, a port-forward, a proxy. `settings` gives user, password and
    /// database; hosts in it are only named in messages.
    pub fn with_dialer(
        settings: tokio_postgres::Config,
        dialer: Dialer,
        catalogue: impl Into<Arc<Catalogue>>,
    ) -> Self {
        Self::from_target(Target::dialled(settings, dialer), catalogue.into())
    }

    fn from_target(target: Target, catalogue: Arc<Catalogue>) -> Self {
        Self {
            target,
            selection: Selection::all(),
            deadline: DEFAULT_DEADLINE,
            cancel: CancellationToken::new(),
            names: Names {
                own_search_path: catalogue.goose,
                ..Names::default()
            },
            catalogue,
            observer: None,
            plan_hash: None,
            again: Vec::new(),
            new_source: false,
        }
    }

    /// Speaks TLS to the server as the URL asks for it: `make` gets its `sslmode`, `prefer` where it has none, and its `sslrootcert`,
    /// and is not asked where the mode is `disable`. What it cannot make is [`Error::InvalidUrl`] of the run.
    #[must_use]
    pub fn tls(
        mut self,
        make: impl FnOnce(&str, Option<&Path>) -> Result<Encryptor, String>,
    ) -> Self {
        self.target.encrypt(make);
        self
    }

    /// Finds the addresses of a host that the URL gives no `hostaddr` for by `lookup` instead of the C library; TLS and messages keep
    /// the name.
    #[must_use]
    pub fn look_up(mut self, lookup: Lookup) -> Self {
        self.target.lookup = Some(lookup);
        self
    }

    /// What to apply.
    #[must_use]
    pub fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// A service's profile or a group; short for [`Config::select`].
    #[must_use]
    pub fn profile(self, name: impl Into<String>) -> Self {
        self.select(Selection::profile(name))
    }

    /// Tables by name or alias, empty for all; short for [`Config::select`].
    #[must_use]
    pub fn tables<I: IntoIterator<Item: Into<String>>>(self, names: I) -> Self {
        self.select(Selection::tables(names))
    }

    /// Limit of the whole run, waiting for the server and the lock included.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Ends the run when the token is cancelled; dropping the run's future does the same without the report.
    #[must_use]
    pub fn cancel_with(mut self, token: CancellationToken) -> Self {
        self.cancel = token;
        self
    }

    /// Other migrations than those of [`Config::new`].
    #[must_use]
    pub fn catalogue(mut self, catalogue: impl Into<Arc<Catalogue>>) -> Self {
        self.catalogue = catalogue.into();
        self.names.own_search_path = self.catalogue.goose;
        self
    }

    /// Calls `observer` for each event, from the task that drives the run: it must not block.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Writes one line per event; a writer that fails is not written to again.
    #[must_use]
    pub fn log_to(self, writer: impl Write + Send + 'static) -> Self {
        let writer = Mutex::new(Some(writer));
        self.observe(move |event| {
            let mut slot = writer
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            if slot
                .as_mut()
                .is_some_and(|writer| writeln!(writer, "{event}").is_err())
            {
                *slot = None;
            }
        })
    }

    /// Runs these applied migrations once more: what they made was dropped by hand.
    #[must_use]
    pub fn again<I: IntoIterator<Item: Into<String>>>(mut self, ids: I) -> Self {
        self.again = ids.into_iter().map(Into::into).collect();
        self
    }

    /// The files are a source of their own, although the database holds rows or a tool's table that look like theirs.
    #[must_use]
    pub fn new_source(mut self) -> Self {
        self.new_source = true;
        self
    }

    /// Applies, or reverts, only if the plan still has this hash, as [`crate::plan`] or [`crate::plan_revert`] gave it; compared
    /// under the lock.
    #[must_use]
    pub fn only_plan(mut self, hash: impl Into<String>) -> Self {
        self.plan_hash = Some(hash.into());
        self
    }

    /// The schema of the migrations' objects and of the ledger, `public` by default. It must exist; shapes are compared as
    /// they were recorded, so record them in a schema of the same name.
    ///
    /// Without it, files in goose's format run in the search path that the database, the role or the URL gives, as goose runs them;
    /// their ledger is in `public`.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.names.schema = name.into();
        self.names.schema_chosen = true;
        self
    }

    /// The ledger's table, `schema_ledger` by default.
    #[must_use]
    pub fn ledger(mut self, table: impl Into<String>) -> Self {
        self.names.ledger = table.into();
        self
    }

    /// The role that the application works as: it may read the ledger, and its recorded grants are compared where it exists.
    #[must_use]
    pub fn role(mut self, name: impl Into<String>) -> Self {
        self.names.role = Some(name.into());
        self
    }

    /// The first half of the advisory locks' keys (`classid` in `pg_locks`). Runs that may meet in one database must agree on it.
    #[must_use]
    pub fn lock_class(mut self, class: i32) -> Self {
        self.names.lock_class = class;
        self
    }

    /// The token that ends the run.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Whether a plan's hash was given.
    pub fn is_approved(&self) -> bool {
        self.plan_hash.is_some()
    }

    /// Host and port, for messages.
    pub fn address(&self) -> String {
        self.target.address()
    }

    /// Name of the database, for messages.
    pub fn database(&self) -> String {
        self.target.database()
    }

    /// Name of the user, for messages.
    pub fn user(&self) -> String {
        self.target.user()
    }

    /// The migrations of the run.
    pub fn migrations(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// What of them is selected.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Whether the URL could be read.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`].
    pub fn check_url(&self) -> Result<(), Error> {
        self.target.settings().map(drop)
    }

    /// The same run on another database of the same server.
    pub(crate) fn on_database(&self, database: &str) -> Self {
        let mut other = self.clone();
        other.target.on_database(database);
        other
    }

    /// The same run on the database that every server has: server-wide locks are taken there, and databases created from there.
    pub(crate) fn on_maintenance_database(&self) -> Self {
        self.on_database("postgres")
    }

    pub(crate) fn emit(&self, event: &Event) {
        tracing::info!(target: "migrator", "{event}");
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.target.address())
            .field("database", &self.target.database())
            .field("selection", &self.selection)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
