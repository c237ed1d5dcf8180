-- Patterns that harm: what was done to a resource in the last minutes, and how bad it looks. They run with the caller's rights.
-- requires: get_resource_id
-- provides: function detect_scale_oscillation, function detect_resource_thrashing, function detect_ineffective_loops, function detect_cascading_failures

-- An action that is not assessed yet counts as one that did nothing.
CREATE OR REPLACE FUNCTION detect_scale_oscillation(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT 120)
RETURNS TABLE (
    direction_changes integer, first_change timestamptz, last_change timestamptz, avg_effectiveness numeric,
    duration_minutes numeric, severity varchar, action_sequence jsonb)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    WITH scaled AS (
        SELECT a.action_timestamp AS at, a.trace_id, (a.action_parameters ->> 'replicas')::integer AS replicas,
               coalesce(a.effectiveness_score, 0) AS score
        FROM get_resource_actions_base(p_namespace, p_kind, p_name, p_window_minutes) a
        WHERE a.action_type = 'scale_deployment' AND a.action_parameters ->> 'replicas' ~ '^[0-9]{1,9}$'
    ), moved AS (
        SELECT scaled.*, sign(replicas - lag(replicas) OVER (ORDER BY at, trace_id)) AS way FROM scaled
    ), turned AS (
        SELECT moved.*, way * lag(way) OVER (ORDER BY at, trace_id) < 0 AS turns FROM moved WHERE way IS NOT NULL
    ), summed AS (
        SELECT count(*) FILTER (WHERE turns) AS turns, min(at) AS since, max(at) AS until, avg(score) AS score,
               extract(epoch FROM max(at) - min(at)) / 60 AS minutes,
               jsonb_agg(jsonb_build_object('timestamp', at, 'replica_count', replicas, 'effectiveness', score,
                   'direction', CASE way WHEN 1 THEN 'up' WHEN -1 THEN 'down' ELSE 'none' END) ORDER BY at, trace_id) AS actions
        FROM turned
    )
    SELECT turns::integer, since, until, round(score, 3), round(minutes, 2),
           CASE WHEN turns >= 4 AND minutes <= 60 AND score < 0.5 THEN 'critical'
                WHEN turns >= 3 AND minutes <= 120 AND score < 0.7 THEN 'high'
                WHEN minutes <= 180 THEN 'medium'
                ELSE 'low' END,
           actions
    FROM summed
    WHERE turns >= 2
$function$;
COMMENT ON FUNCTION detect_scale_oscillation IS 'Replicas of a resource that were raised and lowered in turn: one row if the direction changed twice or more';

CREATE OR REPLACE FUNCTION detect_resource_thrashing(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT 120)
RETURNS TABLE (
    thrashing_transitions integer, total_actions integer, first_action timestamptz, last_action timestamptz,
    avg_effectiveness numeric, avg_time_gap_minutes numeric, severity varchar)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    WITH stepped AS (
        SELECT a.action_timestamp AS at, coalesce(a.effectiveness_score, 0) AS score,
               a.action_type <> lag(a.action_type) OVER in_order AS changes,
               extract(epoch FROM a.action_timestamp - lag(a.action_timestamp) OVER in_order) / 60 AS gap
        FROM get_resource_actions_base(p_namespace, p_kind, p_name, p_window_minutes) a
        WHERE a.action_type IN ('increase_resources', 'scale_deployment')
        WINDOW in_order AS (ORDER BY a.action_timestamp, a.trace_id)
    ), summed AS (
        SELECT count(*) FILTER (WHERE changes) AS changes, count(*) AS actions, min(at) AS since, max(at) AS until,
               avg(score) AS score, avg(gap) AS gap
        FROM stepped
        WHERE gap < 45
    )
    SELECT changes::integer, actions::integer, since, until, round(score, 3), round(gap, 2),
           CASE WHEN changes >= 3 AND score < 0.6 THEN 'critical'
                WHEN changes >= 2 AND score < 0.7 THEN 'high'
                WHEN gap < 15 THEN 'medium'
                ELSE 'low' END
    FROM summed
    WHERE changes >= 1
$function$;
COMMENT ON FUNCTION detect_resource_thrashing IS 'Scaling and raising limits of a resource in turn, within 45 minutes each: one row if that happened';

CREATE OR REPLACE FUNCTION detect_ineffective_loops(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT 120)
RETURNS TABLE (
    action_type varchar, repetition_count integer, avg_effectiveness numeric, effectiveness_stddev numeric,
    first_occurrence timestamptz, last_occurrence timestamptz, span_minutes numeric, severity varchar,
    effectiveness_trend numeric, effectiveness_scores numeric[], timestamps timestamptz[])
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    WITH repeated AS (
        SELECT a.action_type, count(*)::integer AS times, avg(coalesce(a.effectiveness_score, 0)) AS score,
               coalesce(stddev(coalesce(a.effectiveness_score, 0)), 0) AS spread,
               array_agg(coalesce(a.effectiveness_score, 0) ORDER BY a.action_timestamp, a.trace_id) AS scores,
               array_agg(a.action_timestamp ORDER BY a.action_timestamp, a.trace_id) AS moments
        FROM get_resource_actions_base(p_namespace, p_kind, p_name, p_window_minutes) a
        GROUP BY a.action_type
        HAVING count(*) >= 2
    ), judged AS (
        SELECT repeated.*,
               CASE WHEN times >= 5 AND score < 0.3 THEN 1
                    WHEN times >= 4 AND score < 0.5 THEN 2
                    WHEN times >= 3 AND score < 0.6 THEN 3
                    WHEN score < 0.4 THEN 4 END AS rank
        FROM repeated
    )
    SELECT action_type, times, round(score, 3), round(spread, 3), moments[1], moments[times],
           round(extract(epoch FROM moments[times] - moments[1]) / 60, 2),
           (ARRAY['critical', 'high', 'medium', 'low'])[rank],
           CASE WHEN times >= 3 THEN round((scores[times] - scores[1]) / greatest(scores[1], 0.1), 3) ELSE 0 END,
           scores, moments
    FROM judged
    WHERE rank IS NOT NULL
    ORDER BY rank, score, action_type
$function$;
COMMENT ON FUNCTION detect_ineffective_loops IS 'Actions that were repeated on a resource although they hardly helped, worst first';

-- A new signal is another one on the same resource within half an hour after the action.
CREATE OR REPLACE FUNCTION detect_cascading_failures(p_namespace varchar, p_kind varchar, p_name varchar, p_window_minutes integer DEFAULT 120)
RETURNS TABLE (
    action_type varchar, total_actions integer, avg_new_alerts numeric, recurrence_rate numeric, avg_effectiveness numeric,
    actions_causing_cascades integer, max_alerts_triggered integer, severity varchar)
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $function$
    WITH on_resource AS (
        SELECT t.action_timestamp AS at, t.action_type, t.signal_name AS signal, coalesce(t.effectiveness_score, 0) AS score
        FROM resource_references r
        JOIN action_histories h ON h.resource_id = r.id
        JOIN resource_action_traces t ON t.action_history_id = h.id
        WHERE r.namespace IS NOT DISTINCT FROM p_namespace AND r.kind = p_kind AND r.name = p_name
          AND t.action_timestamp > now() - make_interval(mins => p_window_minutes)
    ), followed AS (
        SELECT a.action_type, a.score,
               (SELECT count(DISTINCT later.signal) FROM on_resource later
                WHERE later.at BETWEEN a.at AND a.at + interval '30 minutes' AND later.signal <> a.signal) AS new_signals,
               EXISTS (SELECT FROM on_resource later WHERE later.at > a.at AND later.signal = a.signal) AS came_back
        FROM on_resource a
    ), summed AS (
        SELECT action_type, count(*) AS actions, avg(new_signals) AS signals,
               count(*) FILTER (WHERE came_back) / count(*)::numeric AS recurrence, avg(score) AS score,
               count(*) FILTER (WHERE new_signals > 0) AS cascades, max(new_signals) AS most
        FROM followed
        GROUP BY action_type
    )
    SELECT action_type, actions::integer, round(signals, 2), round(recurrence, 3), round(score, 3), cascades::integer, most::integer,
           CASE WHEN signals > 2 AND recurrence > 0.5 THEN 'critical'
                WHEN signals > 1.5 OR recurrence > 0.7 THEN 'high'
                WHEN signals > 1 OR recurrence > 0.4 THEN 'medium'
                ELSE 'low' END
    FROM summed
    WHERE cascades > 0
    ORDER BY signals DESC, recurrence DESC, action_type
$function$;
COMMENT ON FUNCTION detect_cascading_failures IS 'Types of actions on a resource that other signals followed within half an hour';
