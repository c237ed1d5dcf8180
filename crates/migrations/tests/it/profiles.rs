//! What a selection means in migrations; no database.

use migrations::{Catalogue, Error, Selection};

fn ids(selection: &Selection) -> Vec<String> {
    let catalogue = migrations::catalogue();
    catalogue
        .resolve(selection)
        .unwrap()
        .into_iter()
        .map(|migration| migration.id.clone())
        .collect()
}

const AUDIT: [&str; 3] = [
    "monthly_partitions",
    "audit_events",
    "audit_events_partitions",
];

#[test]
fn a_table_brings_every_migration_that_touches_it_and_what_those_require() {
    assert_eq!(ids(&Selection::tables(["audit_events"])), AUDIT);
    assert_eq!(
        ids(&Selection::tables(["oscillation_detections"])),
        [
            "touch_updated_at",
            "resource_references",
            "oscillation_patterns",
            "oscillation_detections"
        ]
    );
}

#[test]
fn the_five_services_that_only_emit_events_get_the_audit_tables() {
    for service in [
        "workflowexecution",
        "gateway",
        "notification",
        "remediationorchestrator",
        "signalprocessing",
        "audit",
    ] {
        assert_eq!(ids(&Selection::profile(service)), AUDIT, "{service}");
    }
}

#[test]
fn aianalysis_gets_the_workflow_catalogue_too_and_data_storage_everything() {
    assert!(
        ids(&Selection::profile("aianalysis")).contains(&"remediation_workflow_catalog".to_owned())
    );
    assert_eq!(
        ids(&Selection::profile("datastorage")),
        ids(&Selection::all())
    );
    assert_eq!(ids(&Selection::profile("all")), ids(&Selection::all()));
    assert_eq!(
        ids(&Selection::tables(Vec::<String>::new())),
        ids(&Selection::all())
    );
}

#[test]
fn older_names_are_taken_for_the_ones_here() {
    assert_eq!(ids(&Selection::tables(["audit_events_2025_12"])), AUDIT);
    assert_eq!(
        ids(&Selection::tables(["workflows"])),
        ids(&Selection::tables(["workflow_versions"]))
    );
    assert_eq!(
        ids(&Selection::tables(["workflows"])),
        ids(&Selection::tables(["remediation_workflow_catalog"]))
    );
    assert_eq!(
        ids(&Selection::tables(["idx_audit_events_correlation_id"])),
        AUDIT
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let catalogue = migrations::catalogue();
    let error = catalogue
        .resolve(&Selection::profile("gatway"))
        .unwrap_err();
    assert!(
        matches!(error, Error::UnknownProfile { .. }) && error.to_string().contains("gateway"),
        "{error}"
    );
    let error = catalogue
        .resolve(&Selection::tables(["audit_event"]))
        .unwrap_err();
    assert!(
        matches!(error, Error::UnknownTable { .. }) && error.to_string().contains("audit_events"),
        "{error}"
    );
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let refuse = |files: &[(&str, &str)]| {
        Catalogue::from_files("test", files.iter().copied(), "")
            .unwrap_err()
            .to_string()
    };
    let up = "-- provides: table t\nCREATE TABLE IF NOT EXISTS t ();";
    assert!(refuse(&[("0001_t.up.sql", up)]).contains("0001_t.down.sql is missing"));
    assert!(
        refuse(&[("0001_t.up.sql", "SELECT 1"), ("0001_t.down.sql", "")]).contains("declares no")
    );
    assert!(refuse(&[("1_t.up.sql", up), ("1_t.down.sql", "")]).contains("four digits"));
    assert!(refuse(&[("0001_t.down.sql", "")]).contains("belongs to no migration"));
    let twice = [
        ("0001_t.up.sql", up),
        ("0001_t.down.sql", ""),
        ("0002_t.up.sql", up),
        ("0002_t.down.sql", ""),
    ];
    assert!(refuse(&twice).contains("another file has the identity `t`"));
    let unordered = [
        ("0001_t.up.sql", up),
        ("0001_t.down.sql", ""),
        ("0002_u.up.sql", up),
        ("0002_u.down.sql", ""),
    ];
    assert!(refuse(&unordered).contains("add `-- requires: t`"));
    let unknown = "-- requires: nothing\n-- provides: table t\n";
    assert!(
        refuse(&[("0001_t.up.sql", unknown), ("0001_t.down.sql", "")])
            .contains("requires `nothing`")
    );
    let circle = "-- requires: t\n-- provides: table t\n";
    assert!(refuse(&[("0001_t.up.sql", circle), ("0001_t.down.sql", "")]).contains("circle"));
    let slip = "-- require: u\n-- provides: table t\n";
    assert!(
        refuse(&[("0001_t.up.sql", slip), ("0001_t.down.sql", "")]).contains("known are requires")
    );
    let commit = format!("{up}\nCOMMIT;");
    assert!(refuse(&[("0001_t.up.sql", &commit), ("0001_t.down.sql", "")]).contains("line 3"));
    let concurrent = "-- provides: table t\nCREATE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);";
    assert!(
        refuse(&[("0001_t.up.sql", concurrent), ("0001_t.down.sql", "")])
            .contains("transaction: none")
    );
}

#[test]
fn the_embedded_files_follow_their_own_rules() {
    let findings: Vec<String> = migrations::lint(&migrations::catalogue())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(findings, Vec::<String>::new());
}
