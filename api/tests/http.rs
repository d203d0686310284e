//! The server as a client sees it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use api::http::bind;
use common::{
    server::{Answer, Server},
    setup,
};
use reqwest::Method;
use runtime::board::Step;
use schemas::{Outcome, Reason};
use serde_json::{Value, json};

/// Status, content type and body.
async fn json_of(server: &Server, path: &str) -> (u16, String, Value) {
    let answer = server.get(path).await;
    (answer.status, answer.header("content-type").unwrap().to_owned(), answer.json())
}

#[tokio::test]
async fn it_says_that_it_lives_and_whether_it_can_work() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    assert_eq!(
        json_of(&server, "/healthz").await,
        (200, "application/json".into(), json!({ "status": "ok" }))
    );
    let (status, _, body) = json_of(&server, "/readyz").await;
    assert_eq!((status, body), (200, json!({ "status": "ready", "database": "ok", "log": "ok" })));
    sqlx::query("delete from _sqlx_migrations where version > 1")
        .execute(&setup.superuser().await)
        .await
        .unwrap();
    let (status, kind, body) = json_of(&server, "/readyz").await;
    assert_eq!((status, kind.as_str()), (503, "application/problem+json"));
    assert_eq!(body["code"], "database_not_migrated");
    setup.accounts.pool().close().await;
    let (status, _, body) = json_of(&server, "/readyz").await;
    assert_eq!((status, body["code"].as_str()), (503, Some("database_unreachable")));
    assert_eq!(server.get("/healthz").await.status, 200, "it lives all the same");
}

#[tokio::test]
async fn the_status_page_has_the_board_s_figures() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    server.board.fills(3);
    server.board.decision(Outcome::Placed, Reason::Ok);
    server.board.decision(Outcome::Skipped, Reason::StaleFill);
    server.board.order(None, schemas::OrderStatus::Open);
    server.board.reached(Step::Sent, Duration::from_millis(5));
    server.board.lag("decide", 7);
    server.board.trouble("dead_letter");
    let (status, kind, body) = json_of(&server, "/api/v1/status").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    assert_eq!(body["fills"], 3);
    assert_eq!(body["decisions"], json!({ "ok": 1, "stale_fill": 1 }));
    assert_eq!(body["orders"], json!({ "open": 1 }));
    assert!((4_900..=5_100).contains(&body["latency"]["sent"]["p50_us"].as_u64().unwrap()), "{body}");
    assert_eq!((&body["lag"], &body["troubles"]), (&json!({ "decide": 7 }), &json!({ "dead_letter": 1 })));
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.text.contains("poly_mirror_decision"), "{}", answer.text);
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_code() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let (status, kind, body) = json_of(&server, "/api/v1/poly/copy-trade/targets/../../../etc").await;
    assert_eq!((status, kind.as_str()), (404, "application/problem+json"));
    assert_eq!(body["status"], 404);
    assert_eq!((body["code"].as_str(), body["type"].as_str()), (Some("not_found"), Some("about:blank")));
    let request = server.client.post(server.url("/healthz"));
    let answer: Answer = server.send(Method::POST, "/healthz", request).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn it_stops_when_it_is_asked_to_and_frees_its_port() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let taken = bind(server.address).await.unwrap_err();
    assert_eq!(taken.code(), "http_address_unavailable");
    let Server { address, stop, task, client, .. } = server;
    drop(client);
    stop.request();
    task.await.unwrap();
    bind(address).await.unwrap();
}

#[tokio::test]
async fn it_listens_to_nobody_from_elsewhere() {
    let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.code(), "http_address_not_loopback");
}
