//! The altering proxy.

use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use testkit::altering::AlteringProxy;
use tokio::net::TcpListener;

/// Starts a server that answers `/list` and echoes what is posted to `/echo`; returns its base URL.
async fn server() -> String {
    let router = Router::new()
        .route("/list", get(|| async { Json(json!({"data": [1, 2]})) }))
        .route("/text", get(|| async { "plain" }))
        .route("/echo", post(|body: Json<Value>| async { body }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn the_json_of_an_answer_is_altered_and_all_else_passes_as_it_is() {
    let proxy = AlteringProxy::start(&server().await, |path, json| {
        if path == "/list" {
            json["data"].as_array_mut().expect("a list").pop();
        }
    })
    .await;
    let get = async |path: &str| {
        reqwest::get(format!("{}{path}", proxy.url()))
            .await
            .expect("an answer")
    };
    let list: Value = get("/list?limit=2").await.json().await.expect("JSON");
    assert_eq!(list, json!({"data": [1]}));
    assert_eq!(get("/text").await.text().await.expect("text"), "plain");
    assert_eq!(get("/nothing").await.status(), 404);
    let echo = reqwest::Client::new()
        .post(format!("{}/echo", proxy.url()))
        .json(&json!({"a": 1}));
    let echo: Value = echo
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(echo, json!({"a": 1}));
}

#[tokio::test]
async fn without_a_server_behind_it_the_answer_is_502() {
    let proxy = AlteringProxy::start("http://127.0.0.1:9", |_, _| {}).await;
    let answer = reqwest::get(proxy.url()).await.expect("an answer");
    assert_eq!(answer.status(), 502);
}
