-- Rows of the months go with their partitions; what was made by the clock goes too.
DROP FUNCTION IF EXISTS ensure_audit_events_partitions(timestamptz, integer);

DO $partitions$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = to_regclass('audit_events') LOOP
        EXECUTE format('DROP TABLE %s', partition);
    END LOOP;
END
$partitions$;
