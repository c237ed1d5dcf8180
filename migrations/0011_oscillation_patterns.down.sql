DROP TABLE IF EXISTS oscillation_patterns;
