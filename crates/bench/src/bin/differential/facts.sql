-- What migrations can make, as PostgreSQL prints it: kind and fact. The tools' own tables and what belongs to them are left out.
WITH own AS (
    SELECT oid FROM pg_class WHERE relname IN ('schema_ledger', 'schema_ledger_pkey', 'goose_db_version', 'goose_db_version_pkey', 'goose_db_version_id_seq')
),
space AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
relation AS (
    SELECT c.*, format('%I.%I', s.nspname, c.relname) AS name FROM pg_class c JOIN space s ON s.oid = c.relnamespace
    WHERE c.oid NOT IN (SELECT oid FROM own)
),
routine AS (
    SELECT p.*, format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc p JOIN space s ON s.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
)
SELECT 'schema' AS kind, format('%I %s', n.nspname, n.nspacl) AS fact FROM pg_namespace n JOIN space s ON s.oid = n.oid
UNION ALL
SELECT 'relation', format('%s kind %s persistence %s options %s acl %s row security %s replica identity %s partition %s', name, relkind, relpersistence, reloptions, relacl, relrowsecurity, relreplident, pg_get_expr(relpartbound, oid)) FROM relation
UNION ALL
SELECT 'column', format('%s.%I %s collation %s not null %s identity %s generated %s default %s storage %s acl %s', r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attacl)
FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
UNION ALL
SELECT 'constraint', format('%s %I %s', coalesce(r.name, c.contypid::regtype::text), c.conname, pg_get_constraintdef(c.oid))
FROM pg_constraint c LEFT JOIN relation r ON r.oid = c.conrelid WHERE c.connamespace IN (SELECT oid FROM space) AND c.conrelid NOT IN (SELECT oid FROM own)
UNION ALL
SELECT 'index', format('%s valid %s', pg_get_indexdef(i.indexrelid), i.indisvalid) FROM pg_index i JOIN relation r ON r.oid = i.indrelid
UNION ALL
SELECT 'trigger', format('%s enabled %s', pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT 'rule', pg_get_ruledef(w.oid) FROM pg_rewrite w JOIN relation r ON r.oid = w.ev_class
UNION ALL
SELECT 'policy', format('%s %s %s %s %s %s', r.name, p.polname, p.polcmd, p.polroles::regrole[], pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
UNION ALL
SELECT 'sequence', format('%s %s %s %s %s %s', r.name, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqcycle) FROM pg_sequence s JOIN relation r ON r.oid = s.seqrelid
UNION ALL
SELECT 'routine', CASE prokind WHEN 'a' THEN name ELSE pg_get_functiondef(oid) END || coalesce(proacl::text, '') FROM routine
UNION ALL
SELECT 'type', format('%s %s %s', t.oid::regtype, t.typtype, (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
FROM pg_type t WHERE t.typnamespace IN (SELECT oid FROM space) AND t.typtype IN ('e', 'd', 'r') AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'extension', format('%s %s', extname, extversion) FROM pg_extension
UNION ALL
SELECT 'comment', format('%s %s: %s', r.name, d.objsubid, d.description) FROM pg_description d JOIN relation r ON r.oid = d.objoid AND d.classoid = 'pg_class'::regclass
UNION ALL
SELECT 'comment', format('%s: %s', r.name, d.description) FROM pg_description d JOIN routine r ON r.oid = d.objoid AND d.classoid = 'pg_proc'::regclass
UNION ALL
SELECT 'inheritance', format('%s of %s', c.name, i.inhparent::regclass) FROM pg_inherits i JOIN relation c ON c.oid = i.inhrelid
UNION ALL
SELECT 'rows of', name FROM relation WHERE relkind IN ('r', 'm')
