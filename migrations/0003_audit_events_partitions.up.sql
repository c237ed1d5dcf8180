-- The two months that tests name, and the function that keeps the months around today covered.
-- requires: monthly_partitions, audit_events
-- provides: table audit_events, table audit_events_y2025m12, table audit_events_y2026m01, function ensure_audit_events_partitions
-- partitions: audit_events

CREATE TABLE IF NOT EXISTS audit_events_y2025m12 PARTITION OF audit_events FOR VALUES FROM ('2025-12-01') TO ('2026-01-01');
CREATE TABLE IF NOT EXISTS audit_events_y2026m01 PARTITION OF audit_events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');

-- The owner's rights and a fixed search_path: the application role may keep partitions ahead without owning the table
-- (https://www.postgresql.org/docs/current/sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY).
CREATE OR REPLACE FUNCTION ensure_audit_events_partitions(moment timestamptz DEFAULT now(), ahead integer DEFAULT 3)
RETURNS SETOF text
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT public.ensure_monthly_partitions('public.audit_events', moment, ahead)
$function$;

REVOKE ALL ON FUNCTION ensure_audit_events_partitions(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION ensure_audit_events_partitions IS
    'Makes the missing monthly partitions of audit_events around a moment; other logins than the owner''s may name one within a year of now';

DO $grants$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'datastorage_app') THEN
        GRANT EXECUTE ON FUNCTION ensure_audit_events_partitions(timestamptz, integer) TO datastorage_app;
    END IF;
END
$grants$;
