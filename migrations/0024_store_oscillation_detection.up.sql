-- Records a detection, and the resource if it is new. It runs with the caller's rights.
-- requires: oscillation_detections
-- provides: function store_oscillation_detection

CREATE OR REPLACE FUNCTION store_oscillation_detection(
    p_pattern_id bigint, p_namespace varchar, p_kind varchar, p_name varchar, p_confidence numeric, p_action_count integer,
    p_time_span_minutes integer, p_pattern_evidence jsonb, p_prevention_action varchar DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp
AS $function$
    -- One statement, so that two callers who both find the resource new make it once: the second takes the first one's.
    WITH resource AS (
        INSERT INTO resource_references AS known (resource_uid, api_version, kind, name, namespace)
        VALUES (gen_random_uuid()::text, 'apps/v1', p_kind, p_name, p_namespace)
        ON CONFLICT (namespace, kind, name) DO UPDATE SET last_seen = now()
        RETURNING known.id
    )
    INSERT INTO oscillation_detections (
        pattern_id, resource_id, confidence, action_count, time_span_minutes, pattern_evidence, prevention_applied, prevention_action)
    SELECT p_pattern_id, resource.id, p_confidence, p_action_count, p_time_span_minutes, p_pattern_evidence,
           p_prevention_action IS NOT NULL, p_prevention_action
    FROM resource
    RETURNING id
$function$;
COMMENT ON FUNCTION store_oscillation_detection IS 'Records that an oscillation was found on a resource, which is made if it is new; returns the detection''s id';
