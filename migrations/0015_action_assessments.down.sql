DROP TABLE IF EXISTS action_assessments;
