DROP VIEW IF EXISTS low_confidence_actions;
