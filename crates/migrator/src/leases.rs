//! Databases that are used until a time, on a server that many share, and the templates that they are clones of.
//!
//! The time and the template stand in a database's comment. A template goes with its last clone; what nobody dropped in time, whoever
//! comes later does.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::catalogue::hex;
use crate::config::Config;
use crate::database;
use crate::error::Error;
use crate::lock::Key;
use crate::session::{Run, Session};
use crate::sql::{identifier, literal};
use crate::template::template;

/// What the names of templates begin with that go with their last clone; others are left alone.
const TEMPLATES: &str = "leased_template";
/// How the comment of a database begins; a time in UTC follows.
const UNTIL: &str = "leased until ";
/// What stands between the time and the template's name.
const CLONE_OF: &str = ", clone of ";
/// How often a clone begins anew whose template is dropped under its hands.
const ATTEMPTS: u32 = 5;

/// Creates database `name` for `lifetime`, a clone of the selection's template; returns that one's name.
///
/// # Errors
/// As [`template`] and [`Template::clone_as`](crate::Template::clone_as).
pub async fn clone_leased(
    config: &Config,
    name: &str,
    lifetime: Duration,
) -> Result<String, Error> {
    let mut config = config.clone();
    // What is in a template belongs to who built it: another user could clone it, and not use it.
    let user = hex(&Sha256::digest(config.target.user()));
    config.names.template = format!("{TEMPLATES}_{}", &user[..8]);
    for attempt in 1.. {
        let template = template(&config).await?;
        match template.clone_as(name).await {
            Ok(()) => {
                lease_as(&config, name, template.name(), lifetime).await?;
                return Ok(template.name().to_owned());
            }
            // Its last clone went in between, and it with that.
            Err(Error::Database { sqlstate, .. }) if sqlstate == "3D000" && attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop returns")
}

/// Creates an empty database for `lifetime`.
///
/// # Errors
/// As [`crate::create_database`].
pub async fn create_leased(config: &Config, name: &str, lifetime: Duration) -> Result<(), Error> {
    database::create_database(config, name).await?;
    lease_as(config, name, "", lifetime).await
}

/// Lets database `name` be used for `lifetime` from now on; one that is not there is no error.
///
/// # Errors
/// As [`crate::apply`] for connecting; [`Error::PermissionDenied`] if it is somebody else's.
pub async fn renew_lease(config: &Config, name: &str, lifetime: Duration) -> Result<(), Error> {
    lease_as(config, name, "", lifetime).await
}

async fn lease_as(
    config: &Config,
    name: &str,
    template: &str,
    lifetime: Duration,
) -> Result<(), Error> {
    let known = if template.is_empty() {
        format!(
            "coalesce(substring((SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = {}) FROM '{CLONE_OF}.*'), '')",
            literal(name)
        )
    } else {
        literal(&format!("{CLONE_OF}{template}"))
    };
    let sql = format!(
        "DO $lease$ BEGIN IF EXISTS (SELECT FROM pg_database WHERE datname = {0}) THEN EXECUTE format('COMMENT ON DATABASE %I IS %L', {0}, '{UNTIL}' || \
         to_char((now() + interval '{1} seconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') || {known}); END IF; END $lease$",
        literal(name),
        lifetime.as_secs()
    );
    database::run(config, &sql, "leasing a database").await
}

/// Drops the databases whose time is over and that nobody is connected to, then the templates without clones, as far as the user may.
/// Returns their names.
///
/// # Errors
/// As [`crate::apply`] for connecting.
pub async fn drop_expired(config: &Config) -> Result<Vec<String>, Error> {
    let expired = format!(
        "SELECT datname FROM pg_database d WHERE pg_has_role(datdba, 'USAGE') \
         AND substring(shobj_description(oid, 'pg_database') FROM '^{UNTIL}(\\d{{4}}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ)')::timestamptz < now() \
         AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)"
    );
    let unused = format!(
        "SELECT datname FROM pg_database t WHERE pg_has_role(datdba, 'USAGE') AND starts_with(datname, '{TEMPLATES}_') \
         AND NOT EXISTS (SELECT FROM pg_database c WHERE shobj_description(c.oid, 'pg_database') \
         LIKE '{UNTIL}%' AND right(shobj_description(c.oid, 'pg_database'), length('{CLONE_OF}' || t.datname)) = '{CLONE_OF}' || t.datname)"
    );
    Run::bounded(&config.on_maintenance_database(), async |run| {
        let session = Session::open(&run).await?;
        let mut dropped = Vec::new();
        for name in names(&session, &expired).await? {
            let drop = format!("DROP DATABASE IF EXISTS {}", identifier(&name));
            // One that is used again by now, or went already, is nobody's failure.
            if session.try_query(&drop).await.is_ok() {
                dropped.push(name);
            }
        }
        for name in names(&session, &unused).await? {
            if drop_template(&session, &name).await {
                dropped.push(name);
            }
        }
        session.close().await;
        Ok(dropped)
    })
    .await
}

async fn names(session: &Session, sql: &str) -> Result<Vec<String>, Error> {
    let sets = session.query("looking for what has expired", sql).await?;
    let rows = sets.into_iter().flatten();
    Ok(rows.map(|row| crate::rows::text(&row, 0)).collect())
}

/// Drops a template unless somebody is building it.
async fn drop_template(session: &Session, name: &str) -> bool {
    let key = Key::of(session.names(), name);
    let free = session.try_query(&key.try_take()).await;
    let is_free =
        |rows: &crate::rows::Rows| rows.first().is_some_and(|row| row.get(0) == Some("t"));
    if !free.is_ok_and(|sets| sets.first().is_some_and(is_free)) {
        return false;
    }
    let quoted = identifier(name);
    let mut dropped = true;
    for sql in [
        format!("ALTER DATABASE {quoted} IS_TEMPLATE false"),
        format!("DROP DATABASE IF EXISTS {quoted}"),
    ] {
        dropped = dropped && session.try_query(&sql).await.is_ok();
    }
    drop(session.try_query(&key.release()).await);
    dropped
}
