DROP TABLE IF EXISTS action_confidence_scores;
