-- How well each type of action works, day by day in UTC.
-- requires: effectiveness_results
-- provides: view effectiveness_trends

CREATE OR REPLACE VIEW effectiveness_trends AS
SELECT r.action_type, date_trunc('day', r.assessed_at, 'UTC') AS assessment_date, count(*) AS total_assessments,
       avg(r.overall_score) AS avg_effectiveness, avg(r.confidence) AS avg_confidence,
       count(*) FILTER (WHERE r.signal_resolved) AS alerts_resolved,
       count(*) FILTER (WHERE r.signal_resolved)::double precision / count(*)::double precision AS resolution_rate
FROM effectiveness_results r
GROUP BY r.action_type, date_trunc('day', r.assessed_at, 'UTC')
ORDER BY r.action_type, date_trunc('day', r.assessed_at, 'UTC');
COMMENT ON VIEW effectiveness_trends IS 'Assessments of each type of action by UTC day';
