-- Retention of audit events: which months are past it, and the detaching of one. Nothing here deletes a row.
-- requires: audit_events_partitions
-- provides: table audit_retention_holds, function audit_events_retention, function retire_audit_events_partition

CREATE TABLE IF NOT EXISTS audit_retention_holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    correlation_id varchar(255) NOT NULL,
    reason text NOT NULL,
    placed_by text NOT NULL DEFAULT session_user,
    placed_at timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz
);

CREATE INDEX IF NOT EXISTS idx_audit_retention_holds_active ON audit_retention_holds (correlation_id) WHERE released_at IS NULL;

COMMENT ON TABLE audit_retention_holds IS 'Legal holds: a month with an event of a held correlation_id is not retired';
COMMENT ON COLUMN audit_retention_holds.released_at IS 'From then on the hold is none; the row stays as a record of it';
COMMENT ON INDEX idx_audit_retention_holds_active IS 'The holds that are in force';

-- A month is kept until its last day and the longest retention_days among its events have passed; one event without
-- retention_days keeps it for ever. A month without an event is kept as long as an event of the default would be.
CREATE OR REPLACE FUNCTION audit_events_retention(today date DEFAULT (now() AT TIME ZONE 'UTC')::date)
RETURNS TABLE (partition text, first_day date, last_day date, kept_until date, held bigint)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
SET datestyle = 'ISO, YMD'
AS $function$
    SELECT part.name, part.lower, part.upper - 1, kept.until, held.events
    FROM (
        SELECT c.relname::text AS name,
               coalesce(substring(bound FROM $re$FROM \('([^']+)'\)$re$)::date, '-infinity') AS lower,
               substring(bound FROM $re$TO \('([^']+)'\)$re$)::date AS upper
        FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid,
        LATERAL pg_get_expr(c.relpartbound, c.oid) AS bound
        WHERE i.inhparent = 'public.audit_events'::regclass
    ) AS part,
    LATERAL (
        SELECT CASE WHEN bool_or(e.retention_days IS NULL) THEN 'infinity'::date
                    ELSE part.upper - 1 + least(coalesce(max(e.retention_days), 2555), 1000000) END AS until
        FROM public.audit_events e
        WHERE e.event_date >= part.lower AND e.event_date < part.upper
    ) AS kept,
    LATERAL (
        SELECT count(*) AS events
        FROM public.audit_events e
        WHERE e.event_date >= part.lower AND e.event_date < part.upper
          AND EXISTS (SELECT FROM public.audit_retention_holds h WHERE h.correlation_id = e.correlation_id AND h.released_at IS NULL)
    ) AS held
    WHERE part.upper <= today
    ORDER BY part.lower
$function$;

REVOKE ALL ON FUNCTION audit_events_retention(date) FROM PUBLIC;
COMMENT ON FUNCTION audit_events_retention IS
    'The months of audit_events that are over: the last day on which each must be kept, and how many of its events are held';

-- It looks again behind locks that let nobody add an event to the month or place a hold. Whoever has to wait for them, or for the
-- moment that DETACH takes of the whole table, gives up soon: events are stored meanwhile, and a month can wait.
CREATE OR REPLACE FUNCTION retire_audit_events_partition(partition_name text, today date DEFAULT (now() AT TIME ZONE 'UTC')::date)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
SET lock_timeout = '2s'
AS $function$
BEGIN
    EXECUTE format('LOCK TABLE public.audit_retention_holds, public.%I IN SHARE MODE', partition_name);
    IF NOT EXISTS (SELECT FROM audit_events_retention(today) AS month
                   WHERE month.partition = partition_name AND month.kept_until < today AND month.held = 0) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE public.audit_events DETACH PARTITION public.%I', partition_name);
    RETURN true;
END;
$function$;

REVOKE ALL ON FUNCTION retire_audit_events_partition(text, date) FROM PUBLIC;
COMMENT ON FUNCTION retire_audit_events_partition IS
    'Detaches a month of audit_events if its retention has passed and nothing in it is held; its table and rows stay';
