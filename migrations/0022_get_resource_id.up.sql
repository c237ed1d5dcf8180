-- Reads of the action history by resource. They run with the caller's rights.
-- requires: resource_action_traces
-- provides: function get_resource_id, function get_resource_actions_base, function get_recent_actions, function get_action_effectiveness, function analyze_action_oscillation

CREATE OR REPLACE FUNCTION get_resource_id(p_namespace varchar, p_kind varchar, p_name varchar)
RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
DECLARE
    found_id bigint := (
        SELECT r.id FROM resource_references r
        WHERE r.namespace IS NOT DISTINCT FROM p_namespace AND r.kind = p_kind AND r.name = p_name);
BEGIN
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'no action was taken on % %/% yet', p_kind, coalesce(p_namespace, '(cluster)'), p_name
            USING ERRCODE = 'no_data_found';
    END IF;
    RETURN found_id;
END;
$function$;
COMMENT ON FUNCTION get_resource_id IS 'Id of a resource that actions were taken on; an error for one that is not known';

CREATE OR REPLACE FUNCTION get_resource_actions_base(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT NULL)
RETURNS TABLE (
    trace_id bigint, action_timestamp timestamptz, action_type varchar, action_parameters jsonb,
    effectiveness_score numeric, model_confidence numeric, execution_status varchar)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT t.id, t.action_timestamp, t.action_type, t.action_parameters, t.effectiveness_score, t.model_confidence, t.execution_status
    FROM resource_references r
    JOIN action_histories h ON h.resource_id = r.id
    JOIN resource_action_traces t ON t.action_history_id = h.id
    WHERE r.namespace IS NOT DISTINCT FROM p_namespace AND r.kind = p_kind AND r.name = p_name
      AND t.action_timestamp > coalesce(now() - make_interval(mins => p_window_minutes), '-infinity')
    ORDER BY t.action_timestamp DESC, t.id DESC
$function$;
COMMENT ON FUNCTION get_resource_actions_base IS 'The actions on a resource, newest first, of the last minutes or of all time';

CREATE OR REPLACE FUNCTION get_recent_actions(
    p_limit integer DEFAULT 100, p_signal_name varchar DEFAULT NULL, p_signal_severity varchar DEFAULT NULL)
RETURNS TABLE (
    action_id varchar, action_timestamp timestamptz, signal_name varchar, signal_severity varchar, execution_status varchar)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT t.action_id, t.action_timestamp, t.signal_name, t.signal_severity, t.execution_status
    FROM resource_action_traces t
    WHERE (p_signal_name IS NULL OR t.signal_name = p_signal_name)
      AND (p_signal_severity IS NULL OR t.signal_severity = p_signal_severity)
    ORDER BY t.action_timestamp DESC, t.id DESC
    LIMIT p_limit
$function$;
COMMENT ON FUNCTION get_recent_actions IS 'The newest actions, of one signal or severity or of all';

CREATE OR REPLACE FUNCTION get_action_effectiveness(
    p_namespace varchar, p_kind varchar, p_name varchar, p_action_type varchar DEFAULT NULL,
    p_time_start timestamptz DEFAULT now() - interval '7 days', p_time_end timestamptz DEFAULT now())
RETURNS TABLE (
    action_type varchar, sample_size integer, avg_effectiveness numeric, stddev_effectiveness numeric,
    min_effectiveness numeric, max_effectiveness numeric, success_rate numeric)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT t.action_type, count(*)::integer, round(avg(t.effectiveness_score), 3), round(stddev(t.effectiveness_score), 3),
           min(t.effectiveness_score), max(t.effectiveness_score),
           round(count(*) FILTER (WHERE t.execution_status = 'completed') / count(*)::numeric, 3)
    FROM get_resource_actions_base(p_namespace, p_kind, p_name) t
    WHERE t.effectiveness_score IS NOT NULL
      AND t.action_timestamp BETWEEN p_time_start AND p_time_end
      AND (p_action_type IS NULL OR t.action_type = p_action_type)
    GROUP BY t.action_type
    ORDER BY avg(t.effectiveness_score) DESC, t.action_type
$function$;
COMMENT ON FUNCTION get_action_effectiveness IS 'How well each type of action worked on a resource in a time, over the actions that were assessed';

CREATE OR REPLACE FUNCTION analyze_action_oscillation(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT 120)
RETURNS TABLE (
    action_timestamp timestamptz, action_type varchar, effectiveness_score numeric, prev_timestamp timestamptz,
    prev_action_type varchar, time_gap_minutes numeric, action_sequence_position integer)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    SELECT t.action_timestamp, t.action_type, t.effectiveness_score,
           lag(t.action_timestamp) OVER in_order,
           lag(t.action_type) OVER in_order,
           round(coalesce(extract(epoch FROM t.action_timestamp - lag(t.action_timestamp) OVER in_order) / 60, 0), 2),
           (row_number() OVER in_order)::integer
    FROM get_resource_actions_base(p_namespace, p_kind, p_name, p_window_minutes) t
    WINDOW in_order AS (ORDER BY t.action_timestamp, t.trace_id)
    ORDER BY t.action_timestamp, t.trace_id
$function$;
COMMENT ON FUNCTION analyze_action_oscillation IS 'The actions on a resource in their order, each beside the one before it and the minutes between';
