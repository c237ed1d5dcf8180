//! What the schema holds beside tables: indexes that only some want, functions and views that can be called, comments.

use migrations::{Config, Error, Selection, apply, drift, plan, verify};
use testkit::postgres::{Database, database};

use crate::{fresh, run, value};

const GIN: &str = "idx_audit_events_event_data_gin";

async fn has(database: &Database, object: &str) -> bool {
    let sql = format!("SELECT to_regclass('{object}') IS NOT NULL");
    value(database, &sql).await == "t"
}

#[tokio::test]
async fn the_index_on_event_data_is_there_for_who_asks_and_neither_way_is_drift() {
    let (database, config) = fresh().await;
    let gateway = config.clone().profile("gateway");
    apply(&gateway).await.unwrap();
    verify(&gateway).await.unwrap();
    assert!(!has(&database, GIN).await);
    let error = verify(&config.clone().tables([GIN])).await.unwrap_err();
    assert!(
        error.to_string().contains("audit_events_event_data_gin"),
        "{error}"
    );

    let datastorage = config.clone().profile("datastorage");
    apply(&datastorage).await.unwrap();
    assert!(has(&database, GIN).await);
    for config in [&datastorage, &gateway] {
        verify(config).await.unwrap();
        assert_eq!(drift(config).await.unwrap().differences, []);
    }
    let month = value(
        &database,
        "SELECT ensure_audit_events_partitions(now() + interval '6 months', 0)",
    )
    .await;
    let gin = format!(
        "SELECT count(*) FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam \
         WHERE x.indrelid = '{month}'::regclass AND a.amname = 'gin'"
    );
    assert_eq!(value(&database, &gin).await, "1", "a new month has it too");

    run(&database, &format!("DROP INDEX {GIN}")).await;
    verify(&gateway).await.unwrap();
    let error = verify(&datastorage).await.unwrap_err();
    assert!(
        matches!(&error, Error::Drift { .. }) && error.to_string().contains(GIN),
        "{error}"
    );
}

#[tokio::test]
async fn an_object_is_selected_by_its_name_or_by_the_group_that_has_it() {
    let (_database, config) = fresh().await;
    for selection in [
        Selection::tables([GIN]),
        Selection::tables(["idx_event_data_gin"]),
        Selection::profile("audit-search"),
    ] {
        let steps = plan(&config.clone().select(selection)).await.unwrap().steps;
        let last = steps.last().map(|step| step.id.as_str());
        assert_eq!(last, Some("audit_events_event_data_gin"));
        assert!(steps.iter().any(|step| step.id == "audit_events"));
    }
    let steps = plan(&config.tables(["effectiveness_trends"]))
        .await
        .unwrap()
        .steps;
    assert_eq!(steps.len(), 2, "the view and its table");
}

#[tokio::test]
async fn verify_asks_for_each_of_the_five_named_indexes() {
    let database = database("gateway").await;
    let config = Config::new(database.url()).profile("gateway");
    verify(&config).await.unwrap();
    for name in [
        "correlation",
        "event_type",
        "timestamp",
        "resource",
        "actor",
    ] {
        let index = format!("idx_audit_events_{name}");
        let definition = value(
            &database,
            &format!("SELECT pg_get_indexdef('{index}'::regclass)"),
        )
        .await;
        run(&database, &format!("DROP INDEX {index}")).await;
        let error = verify(&config).await.unwrap_err();
        assert!(error.to_string().contains(&index), "{error}");
        // As it is printed it would be the parent's alone.
        run(&database, &definition.replace("ON ONLY", "ON")).await;
        verify(&config).await.unwrap();
    }
}

#[tokio::test]
async fn a_view_that_was_changed_is_drift() {
    let database = database("all").await;
    let config = Config::new(database.url());
    run(&database, "CREATE OR REPLACE VIEW incident_summary_view AS SELECT signal_severity AS severity, count(*) AS incident_count \
         FROM resource_action_traces GROUP BY signal_severity").await;
    let differences = drift(&config).await.unwrap().differences;
    let objects: Vec<_> = differences
        .iter()
        .map(|difference| difference.object.as_str())
        .collect();
    assert_eq!(objects, ["view incident_summary_view"]);
}

#[tokio::test]
async fn everything_in_the_catalogue_has_a_comment() {
    let database = database("all").await;
    let sql = "SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM (
            SELECT relname::text AS name FROM pg_class c
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'i', 'I') AND NOT relispartition
              AND relname NOT LIKE 'schema\\_ledger%' AND obj_description(oid, 'pg_class') IS NULL
              AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = c.oid)
            UNION ALL
            SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
        ) AS silent";
    assert_eq!(value(&database, sql).await, "");
}

/// One resource whose replicas went up and down, with each action answered by another signal.
const HISTORY: &str = "
    INSERT INTO resource_references (resource_uid, api_version, kind, name, namespace) VALUES ('u', 'apps/v1', 'Deployment', 'web', 'shop');
    INSERT INTO action_histories (resource_id) SELECT id FROM resource_references;
    INSERT INTO resource_action_traces (action_history_id, action_id, action_timestamp, signal_name, signal_severity, model_used,
        model_confidence, action_type, action_parameters, execution_status, effectiveness_score)
    SELECT h.id, 'a-' || n, now() - interval '50 minutes' + n * interval '5 minutes', 'signal-' || n, 'critical', 'm', 0.9,
        CASE WHEN n % 3 = 0 THEN 'increase_resources' ELSE 'scale_deployment' END,
        jsonb_build_object('replicas', 2 + (n - n / 3) % 2), 'completed', 0.2
    FROM action_histories h, generate_series(1, 9) AS n;
    INSERT INTO effectiveness_results (trace_id, action_type, overall_score, signal_resolved, confidence) VALUES ('a-1', 'scale_deployment', 0.5, true, 0.9);
    INSERT INTO action_confidence_scores (action_type, context_hash, base_confidence, adjusted_confidence) VALUES ('drain_node', 'c', 0.4, 0.4);
    INSERT INTO action_outcomes (trace_id, action_type, context_hash, signal_name, success, effectiveness_score, executed_at)
        VALUES ('a-1', 'drain_node', 'c', 's', true, 0.5, now())";

#[tokio::test]
async fn every_function_and_view_of_the_action_history_answers() {
    let database = database("action-traces").await;
    run(&database, HISTORY).await;
    let resource = "'shop', 'Deployment', 'web'";
    let cases = [
        ("get_resource_id", format!("SELECT get_resource_id({resource}) = (SELECT id FROM resource_references)"), "t"),
        ("get_resource_actions_base", format!("SELECT count(*) FROM get_resource_actions_base({resource}, 30)"), "5"),
        ("get_recent_actions", "SELECT string_agg(action_id, ',') FROM get_recent_actions(2)".to_owned(), "a-9,a-8"),
        ("get_action_effectiveness", format!("SELECT string_agg(action_type || ' ' || sample_size || ' ' || success_rate, ', ' ORDER BY action_type) FROM get_action_effectiveness({resource})"), "increase_resources 3 1.000, scale_deployment 6 1.000"),
        ("analyze_action_oscillation", format!("SELECT max(action_sequence_position) || ' ' || max(time_gap_minutes) FROM analyze_action_oscillation({resource})"), "9 5.00"),
        ("detect_scale_oscillation", format!("SELECT direction_changes || ' ' || severity || ' ' || jsonb_array_length(action_sequence) FROM detect_scale_oscillation({resource})"), "4 critical 5"),
        ("detect_resource_thrashing", format!("SELECT thrashing_transitions || ' ' || total_actions || ' ' || severity FROM detect_resource_thrashing({resource})"), "5 8 critical"),
        ("detect_ineffective_loops", format!("SELECT string_agg(action_type || ' ' || repetition_count || ' ' || severity, ', ') FROM detect_ineffective_loops({resource})"), "scale_deployment 6 critical, increase_resources 3 medium"),
        ("detect_cascading_failures", format!("SELECT count(*) || ' ' || max(max_alerts_triggered) FROM detect_cascading_failures({resource})"), "2 6"),
        ("store_oscillation_detection", "SELECT store_oscillation_detection(1, NULL, 'Node', 'n1', 0.5, 3, 10, '{}') = store_oscillation_detection(1, NULL, 'Node', 'n1', 0.5, 3, 10, '{}') - 1".to_owned(), "t"),
        ("action_history_summary", "SELECT name || ' ' || recent_actions_24h || ' ' || action_types_used FROM action_history_summary".to_owned(), "web 9 2"),
        ("incident_summary_view", "SELECT severity || ' ' || incident_count FROM incident_summary_view".to_owned(), "critical 9"),
        ("oscillation_detection_summary", "SELECT pattern_type || ' ' || total_detections FROM oscillation_detection_summary".to_owned(), "scale_oscillation 2"),
        ("effectiveness_trends", "SELECT action_type || ' ' || resolution_rate FROM effectiveness_trends".to_owned(), "scale_deployment 1"),
        ("low_confidence_actions", "SELECT action_type || ' ' || recent_samples FROM low_confidence_actions".to_owned(), "drain_node 1"),
    ];
    for (name, sql, expected) in &cases {
        assert_eq!(&value(&database, sql).await, expected, "{name}");
    }
    // One resource, although it was stored twice and its namespace is null.
    assert_eq!(
        value(
            &database,
            "SELECT count(*) FROM resource_references WHERE kind = 'Node'"
        )
        .await,
        "1"
    );
    let all = "SELECT string_agg(name, ' ') FROM (
        SELECT proname::text AS name FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype AND proname !~ 'partition'
        UNION ALL SELECT viewname::text FROM pg_views WHERE schemaname = 'public') AS declared";
    let all = value(&database, all).await;
    let missed: Vec<&str> = all
        .split(' ')
        .filter(|name| !cases.iter().any(|(tested, ..)| tested == name))
        .collect();
    assert_eq!(missed, Vec::<&str>::new(), "not called");
}

#[tokio::test]
async fn every_function_has_a_fixed_search_path() {
    let database = database("all").await;
    let sql = "SELECT coalesce(string_agg(proname, ', '), '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
         AND NOT coalesce(array_to_string(proconfig, ' ') LIKE '%search_path=pg_catalog%', false)";
    assert_eq!(value(&database, sql).await, "");
}

#[tokio::test]
async fn what_must_be_true_of_a_row_is_refused_otherwise() {
    let database = database("all").await;
    let client = database.connect().await;
    let refused = async |sql: &str| {
        let error = client.batch_execute(sql).await.expect_err(sql);
        error
            .code()
            .map(|code| code.code().to_owned())
            .unwrap_or_default()
    };
    let event = |date: &str| {
        format!(
            "INSERT INTO audit_events (event_timestamp, event_date, event_type, event_category, event_action, event_outcome, actor_type, \
             actor_id, resource_type, resource_id, correlation_id, event_data) \
             VALUES ('2025-12-31 23:30:00-05', '{date}', 't', 'c', 'a', 'success', 'x', 'x', 'r', 'r', 'c', '{{}}')"
        )
    };
    // In UTC it is the first of January.
    assert_eq!(refused(&event("2025-12-31")).await, "23514");
    client.batch_execute(&event("2026-01-01")).await.unwrap();

    let workflow = |version: &str, latest: bool| {
        format!(
            "INSERT INTO remediation_workflow_catalog (workflow_name, version, name, description, content, content_hash, is_latest_version) \
             VALUES ('w', '{version}', 'n', 'd', 'c', 'h', {latest})"
        )
    };
    client.batch_execute(&workflow("1", true)).await.unwrap();
    assert_eq!(refused(&workflow("2", true)).await, "23505");
    client.batch_execute(&workflow("2", false)).await.unwrap();

    let node = "INSERT INTO resource_references (resource_uid, api_version, kind, name) VALUES (gen_random_uuid(), 'v1', 'Node', 'n')";
    client.batch_execute(node).await.unwrap();
    assert_eq!(refused(node).await, "23505");
    let metric = "INSERT INTO action_effectiveness_metrics (scope_type, metric_period, period_start, period_end, action_type) \
         VALUES ('global', '1d', '2026-01-01', '2026-01-02', 'restart_pod')";
    client.batch_execute(metric).await.unwrap();
    assert_eq!(refused(metric).await, "23505");
}

#[tokio::test]
async fn no_foreign_key_is_without_an_index() {
    let database = database("all").await;
    let sql = "SELECT coalesce(string_agg(conname, ', '), '') FROM pg_constraint c
        WHERE contype = 'f' AND conparentid = 0 AND connamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.conrelid AND x.indkey[0] = c.conkey[1])";
    assert_eq!(value(&database, sql).await, "");
}
