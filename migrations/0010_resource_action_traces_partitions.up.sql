-- The same two months as audit_events, and the function that keeps the months around today covered.
-- requires: monthly_partitions, resource_action_traces
-- provides: table resource_action_traces, table resource_action_traces_y2025m12, table resource_action_traces_y2026m01, function ensure_resource_action_traces_partitions
-- partitions: resource_action_traces

CREATE TABLE IF NOT EXISTS resource_action_traces_y2025m12 PARTITION OF resource_action_traces FOR VALUES FROM ('2025-12-01 00:00:00+00') TO ('2026-01-01 00:00:00+00');
CREATE TABLE IF NOT EXISTS resource_action_traces_y2026m01 PARTITION OF resource_action_traces FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00');

-- As ensure_audit_events_partitions; the application role has no part in these tables.
CREATE OR REPLACE FUNCTION ensure_resource_action_traces_partitions(moment timestamptz DEFAULT now(), ahead integer DEFAULT 3)
RETURNS SETOF text
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT public.ensure_monthly_partitions('public.resource_action_traces', moment, ahead)
$function$;

REVOKE ALL ON FUNCTION ensure_resource_action_traces_partitions(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION ensure_resource_action_traces_partitions IS
    'Makes the missing monthly partitions of resource_action_traces around a moment';
