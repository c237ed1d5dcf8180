//! `schema.json` is what the files make, on every supported major version.

use migrations::record_shapes;

use crate::fresh;

#[tokio::test]
async fn schema_json_is_current() {
    let (_database, config) = fresh().await;
    let recorded = record_shapes(&config).await.unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/schema.json");
    let checked_in = std::fs::read_to_string(file).unwrap();
    assert!(
        recorded == checked_in,
        "migrations/schema.json is not what the files make; run `cargo xtask gen schema`"
    );
}
