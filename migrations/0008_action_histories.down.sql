DROP TABLE IF EXISTS action_histories;
