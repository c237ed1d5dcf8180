-- What was found and prevented, by type of pattern.
-- requires: oscillation_detections
-- provides: view oscillation_detection_summary

CREATE OR REPLACE VIEW oscillation_detection_summary AS
SELECT p.pattern_type, count(*) AS total_detections,
       count(*) FILTER (WHERE d.prevention_applied) AS preventions_applied,
       count(*) FILTER (WHERE d.prevention_successful) AS successful_preventions,
       avg(d.confidence) AS avg_confidence, max(d.detected_at) AS last_detection
FROM oscillation_detections d
JOIN oscillation_patterns p ON p.id = d.pattern_id
GROUP BY p.pattern_type;
COMMENT ON VIEW oscillation_detection_summary IS 'Detections by type of pattern, and how many were prevented';
