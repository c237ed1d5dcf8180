DROP TABLE IF EXISTS action_outcomes;
