-- The shape of objects as PostgreSQL prints it: a row per object and part. $1 is the objects' names, such as 'table orders'.
-- {schema} stands for the schema that they are in, {role} for the application's role, whose grants count, {indexes} for the
-- indexes that are objects of their own and no part of their tables.
-- Names of columns, not their order; partitions and their indexes belong to the clock, so a partition shows its bounds only.
WITH wanted AS (SELECT unnest($1::text[]) AS object),
relation AS (
    SELECT w.object, c.* FROM wanted w
    JOIN pg_class c ON c.relname = substr(w.object, 7) AND c.relnamespace = {schema}::regnamespace
    WHERE w.object LIKE 'table %' AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
),
own AS (
    SELECT w.object, c.* FROM wanted w
    JOIN pg_class c ON c.relname = substr(w.object, strpos(w.object, ' ') + 1) AND c.relnamespace = {schema}::regnamespace
    WHERE w.object LIKE 'index %' AND c.relkind IN ('i', 'I') OR w.object LIKE 'view %' AND c.relkind = 'v'
),
routine AS (
    SELECT w.object, p.* FROM wanted w
    JOIN pg_proc p ON p.proname = substr(w.object, 10) AND p.pronamespace = {schema}::regnamespace
    WHERE w.object LIKE 'function %'
),
grantee AS (SELECT 0::oid AS oid, 'public' AS name UNION ALL SELECT oid, rolname FROM pg_roles WHERE rolname = {role})
SELECT object, 'kind' AS part,
    CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table partitioned by ' || pg_get_partkeydef(oid) ELSE 'relation of kind ' || relkind::text END
    || coalesce(' ' || pg_get_expr(relpartbound, oid) || ' of ' || (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = relation.oid), '')
    || CASE WHEN relrowsecurity THEN ' with row security' ELSE '' END AS shape
FROM relation
UNION ALL
SELECT r.object, 'column ' || a.attname,
    format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    || CASE a.attidentity WHEN '' THEN '' ELSE ' identity ' || a.attidentity::text END
    || coalesce(CASE a.attgenerated WHEN '' THEN ' default ' ELSE ' generated ' END || pg_get_expr(d.adbin, d.adrelid), '')
FROM relation r
JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE NOT r.relispartition
UNION ALL
SELECT r.object, 'constraint ' || c.conname, pg_get_constraintdef(c.oid)
FROM relation r JOIN pg_constraint c ON c.conrelid = r.oid AND c.conparentid = 0 AND c.contype NOT IN ('n', 't')
WHERE NOT r.relispartition
UNION ALL
SELECT r.object, 'index ' || i.relname, pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid THEN '' ELSE ' (invalid)' END
FROM relation r JOIN pg_index x ON x.indrelid = r.oid JOIN pg_class i ON i.oid = x.indexrelid
WHERE NOT r.relispartition AND i.relname <> ALL ({indexes})
UNION ALL
SELECT r.object, 'trigger ' || t.tgname, pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' (enabled: ' || t.tgenabled::text || ')' END
FROM relation r JOIN pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal AND t.tgparentid = 0
WHERE NOT r.relispartition
UNION ALL
SELECT r.object, 'grant ' || g.name, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
FROM relation r, LATERAL aclexplode(r.relacl) a JOIN grantee g ON g.oid = a.grantee
WHERE NOT r.relispartition
GROUP BY 1, 2
UNION ALL
SELECT object, 'signature ' || pg_get_function_identity_arguments(oid),
    '(' || pg_get_function_arguments(oid) || ') returns ' || pg_get_function_result(oid)
    || ' language ' || (SELECT lanname FROM pg_language l WHERE l.oid = routine.prolang)
    || CASE provolatile WHEN 'v' THEN '' ELSE ' volatility ' || provolatile::text END
    || CASE WHEN prosecdef THEN ' security definer' ELSE '' END
    || coalesce(' set ' || array_to_string(proconfig, ' set '), '') || ' body ' || md5(replace(prosrc, E'\r', ''))
FROM routine
UNION ALL
SELECT r.object, 'grant ' || g.name, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
FROM routine r, LATERAL aclexplode(coalesce(r.proacl, acldefault('f', r.proowner))) a JOIN grantee g ON g.oid = a.grantee
GROUP BY 1, 2
UNION ALL
SELECT object, 'kind', pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid THEN '' ELSE ' (invalid)' END
FROM own JOIN pg_index x ON x.indexrelid = own.oid
UNION ALL
-- PostgreSQL 15 names the one relation of a view before each of its columns, later versions do not.
SELECT object, 'kind', 'view' || coalesce(' with ' || array_to_string(reloptions, ', '), '')
    || ' as ' || md5(regexp_replace(pg_get_viewdef(oid), '\m[a-z_][a-z_0-9]*\.(?=[a-z_])', '', 'g'))
FROM own WHERE relkind = 'v'
UNION ALL
SELECT v.object, 'column ' || a.attname, format_type(a.atttypid, a.atttypmod)
FROM own v JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE v.relkind = 'v'
UNION ALL
SELECT v.object, 'grant ' || g.name, string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type)
FROM own v, LATERAL aclexplode(v.relacl) a JOIN grantee g ON g.oid = a.grantee
WHERE v.relkind = 'v'
GROUP BY 1, 2
