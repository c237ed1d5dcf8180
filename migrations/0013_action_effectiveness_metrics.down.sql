DROP TABLE IF EXISTS action_effectiveness_metrics;
