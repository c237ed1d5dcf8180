-- Summaries of the action traces.
-- requires: resource_action_traces
-- provides: view action_history_summary, view incident_summary_view

CREATE OR REPLACE VIEW action_history_summary AS
SELECT r.namespace, r.kind, r.name, h.total_actions, h.last_action_at, day.recent_actions_24h, day.avg_effectiveness_24h, day.action_types_used
FROM resource_references r
JOIN action_histories h ON h.resource_id = r.id
CROSS JOIN LATERAL (
    SELECT count(*) AS recent_actions_24h, avg(t.effectiveness_score) AS avg_effectiveness_24h,
           count(DISTINCT t.action_type) AS action_types_used
    FROM resource_action_traces t
    WHERE t.action_history_id = h.id AND t.action_timestamp > now() - interval '24 hours'
) AS day;
COMMENT ON VIEW action_history_summary IS 'Each resource with its actions of the last 24 hours';

CREATE OR REPLACE VIEW incident_summary_view AS
SELECT t.signal_severity AS severity, count(*) AS incident_count
FROM resource_action_traces t
GROUP BY t.signal_severity
ORDER BY coalesce(array_position(ARRAY['critical', 'high', 'medium', 'low'], t.signal_severity::text), 5);
COMMENT ON VIEW incident_summary_view IS 'How many actions each severity of signal led to, the most severe first';
