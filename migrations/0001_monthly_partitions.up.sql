-- Makes the missing monthly partitions of a table that is partitioned by range over a date or timestamptz column.
-- It runs with the caller's rights: the tables' own functions decide who may make partitions of which table.
-- provides: function ensure_monthly_partitions

-- Every bound is a UTC month. A month counts as covered by what the partitions' bounds say, not by their names: one of another
-- width that reaches into it leaves no room for a whole month. The table is made beside its parent and attached: that takes SHARE
-- UPDATE EXCLUSIVE on the parent, so inserts go on meanwhile, where CREATE TABLE … PARTITION OF would take ACCESS EXCLUSIVE.
CREATE OR REPLACE FUNCTION ensure_monthly_partitions(parent regclass, moment timestamptz, ahead integer)
RETURNS SETOF text
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET lock_timeout = '5s'
SET client_min_messages = 'warning'
AS $function$
DECLARE
    owner_schema text := (SELECT nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.oid = parent);
    parent_name text := (SELECT relname FROM pg_class WHERE oid = parent);
    month date;
    partition_name text;
    standing regclass;
    missing date[];
BEGIN
    IF ahead IS NULL OR ahead NOT BETWEEN 0 AND 24 THEN
        RAISE EXCEPTION 'partitions can be made 0 to 24 months ahead, not %', ahead USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A login that only may call the tables' own functions is here with their owner's rights: it makes no month at its will.
    IF moment NOT BETWEEN now() - interval '1 year' AND now() + interval '1 year'
       AND NOT pg_has_role(session_user, current_user, 'MEMBER') THEN
        RAISE EXCEPTION 'partitions around % are made for the owner of % only', moment, parent
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a moment within a year of now.';
    END IF;
    FOR attempt IN 1..2 LOOP
        SELECT array_agg(m::date ORDER BY m) INTO missing
        FROM generate_series(
            date_trunc('month', moment) - interval '1 month',
            date_trunc('month', moment) + make_interval(months => ahead),
            interval '1 month') AS m
        WHERE NOT EXISTS (
            SELECT FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid,
            LATERAL pg_get_expr(c.relpartbound, c.oid) AS bound
            WHERE i.inhparent = parent AND bound <> 'DEFAULT'
              AND coalesce(substring(bound FROM $re$FROM \('([^']+)'\)$re$)::timestamptz, '-infinity') < m + interval '1 month'
              AND coalesce(substring(bound FROM $re$TO \('([^']+)'\)$re$)::timestamptz, 'infinity') > m);
        IF missing IS NULL THEN
            RETURN;
        END IF;
        -- Two callers may find the same month missing: the second looks again once it is alone.
        PERFORM pg_advisory_xact_lock(hashtext('monthly_partitions'), parent::oid::integer);
    END LOOP;
    FOREACH month IN ARRAY missing LOOP
        partition_name := format('%s_y%sm%s', parent_name, to_char(month, 'YYYY'), to_char(month, 'MM'));
        -- Names are looked up as they are now, where the look above sees what the transaction's snapshot sees.
        standing := to_regclass(format('%I.%I', owner_schema, partition_name));
        IF standing IS NULL THEN
            EXECUTE format('CREATE TABLE %I.%I (LIKE %s INCLUDING ALL EXCLUDING IDENTITY EXCLUDING COMMENTS)',
                owner_schema, partition_name, parent);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
                parent, owner_schema, partition_name, month, (month + interval '1 month')::date);
            RETURN NEXT partition_name;
        ELSIF pg_partition_root(standing) IS DISTINCT FROM parent THEN
            -- Somebody detached it, or keeps something else by that name: it is theirs to attach.
            RAISE WARNING 'table % is there and is no partition of %: month % stays uncovered', standing, parent, to_char(month, 'YYYY-MM');
        END IF;
    END LOOP;
END;
$function$;

REVOKE ALL ON FUNCTION ensure_monthly_partitions(regclass, timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION ensure_monthly_partitions IS
    'Makes and attaches the missing monthly partitions of a table: the month before a moment, its own, and so many ahead; returns their names';
