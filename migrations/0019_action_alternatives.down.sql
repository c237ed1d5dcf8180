DROP TABLE IF EXISTS action_alternatives;
