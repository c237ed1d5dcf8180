DROP TABLE IF EXISTS effectiveness_results;
