//! What every connection is set to before it is used, within a bounded time.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError};

/// Commits are durable whatever the server's default (D9); times are written and read in UTC (D25); names are looked up where the
/// migrations made them, whatever the database's or the login's search path; the application's role is taken on where this login
/// may and where the role can do the work (D31), so that the audit trail is append-only here too. From PostgreSQL 16 on a member
/// need not be one that may take the role. A role that is dropped in between leaves the connection working as the login.
const SETTINGS: &str = "
    SET synchronous_commit = on;
    SET TimeZone = 'UTC';
    SET DateStyle = 'ISO';
    SET lock_timeout = '5s';
    SET search_path = public;
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
    EXCEPTION WHEN insufficient_privilege OR undefined_object OR invalid_parameter_value THEN
        NULL;
    END
    $role$";

/// The hook that sets a new connection up. The pool bounds the log-in, but no hook: a proxy that goes silent between the two would
/// keep the connection's place for ever.
pub(super) fn prepare(bound: Duration) -> Hook {
    Hook::async_fn(move |client, _| {
        Box::pin(async move {
            match tokio::time::timeout(bound, client.batch_execute(SETTINGS)).await {
                Ok(set) => set.map_err(HookError::Backend),
                Err(_) => Err(HookError::message(
                    "the database took the log-in and did not answer the session's settings in time",
                )),
            }
        })
    })
}
