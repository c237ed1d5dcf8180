DROP VIEW IF EXISTS oscillation_detection_summary;
