DROP TABLE IF EXISTS oscillation_detections;
