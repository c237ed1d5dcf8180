DROP TABLE IF EXISTS resource_references;
