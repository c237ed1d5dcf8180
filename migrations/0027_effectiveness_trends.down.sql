DROP VIEW IF EXISTS effectiveness_trends;
