//! What every connection is set to before it is used.

use deadpool_postgres::Hook;
use tokio_postgres::error::SqlState;

/// Commits are durable whatever the server's default (D9); times are written and read in UTC (D25); the application's role is
/// taken on where this login may and where the role can do the work (D31), so that the audit trail is append-only here too. From
/// PostgreSQL 16 on a member need not be one that may take the role.
const SETTINGS: &str = "
    SET synchronous_commit = on;
    SET TimeZone = 'UTC';
    SET DateStyle = 'ISO';
    SET lock_timeout = '5s';
    DO $role$
    BEGIN
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app' AND pg_has_role(current_user, oid,
                CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END))
           AND to_regclass('audit_events') IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM unnest(ARRAY['audit_events', 'remediation_workflow_catalog', 'notification_audit']) AS name
               WHERE NOT has_table_privilege('datastorage_app', to_regclass(name), 'INSERT')) THEN
            SET ROLE datastorage_app;
        END IF;
    EXCEPTION WHEN insufficient_privilege THEN
        NULL;
    END
    $role$";

/// The hook that sets a new connection up.
pub(super) fn prepare() -> Hook {
    Hook::async_fn(|client, _| {
        Box::pin(async move {
            match client.batch_execute(SETTINGS).await {
                // The role was dropped in between; the connection works as the login.
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
                result => result.map_err(deadpool_postgres::HookError::Backend),
            }
        })
    })
}
