//! The client of a schema registry, against one that is none of ours (`tests/foreign/registry`), and against
//! answers that such a one gives in trouble.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use axum::{Json, Router, extract::Path, http::StatusCode, response::IntoResponse, routing};
use schemas::{
    Address, Timestamp,
    codec::{Codec, SchemaId, WriterSchema, released, unframe},
    events::{FillsEvent, Watermark, all_records},
    registry::{Registry, RegistryError},
    topics::Topic,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The foreign registry. It ends when its standard input does, so it cannot outlive this process.
struct Foreign {
    url: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl Foreign {
    fn start(test: &str) -> Option<Self> {
        let program = testkit::workspace_root().join(".deps/registry/registry");
        if !program.is_file() {
            testkit::skip(
                test,
                "there is no .deps/registry; `make setup` builds it, with Go or a wheel of it",
            );
            return None;
        }
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        Some(Self { url, child, input })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

fn watermark() -> Watermark {
    Watermark {
        wallet: Address::from_bytes([7; 20]),
        complete_until: Timestamp::from_secs(1_790_000_000),
        observed_at: Timestamp::from_micros(1_790_000_000_123_456),
    }
}

/// Others use the registry too, so that no id of ours is a bundled one.
async fn others_register(registry: &Registry) {
    for n in 0..=released().unwrap().len() {
        let schema = format!(r#"{{"type":"record","name":"Other{n}","fields":[]}}"#);
        registry.register("others-value", &schema).await.unwrap();
    }
}

/// What the codec writes watermarks under.
fn id_of(codec: &Codec) -> SchemaId {
    unframe(&codec.encode(&watermark()).unwrap().value).unwrap().0
}

/// The watermark's schema with one more optional field: what a newer version of this program may write.
fn of_a_newer_program() -> String {
    let released = released().unwrap();
    let now = released.iter().find(|r| r.name == "Watermark").unwrap();
    let mut schema: Value = serde_json::from_str(now.json).unwrap();
    let field = json!({ "name": "later", "type": ["null", "long"], "default": null, "doc": "added later" });
    schema["fields"].as_array_mut().unwrap().push(field);
    schema.to_string()
}

#[tokio::test]
async fn what_a_registry_lacks_is_told_and_nothing_registered() {
    let Some(foreign) = Foreign::start("what_a_registry_lacks_is_told_and_nothing_registered") else {
        return;
    };
    let registry = Registry::new(&foreign.url).unwrap();
    let subjects = async || -> Vec<String> {
        reqwest::get(format!("{}/subjects", foreign.url)).await.unwrap().json().await.unwrap()
    };
    assert_eq!(registry.lacking().await.unwrap().len(), released().unwrap().len());
    assert_eq!(subjects().await, Vec::<String>::new());
    let one = released().unwrap().iter().find(|r| r.name == "Watermark").unwrap().json;
    registry.register(&Registry::subject(Topic::Fills, "Watermark"), one).await.unwrap();
    assert_eq!(registry.lacking().await.unwrap().len(), released().unwrap().len() - 1);
    assert_eq!(subjects().await.len(), 1);
    registry.adopt(&Codec::bundled().unwrap()).await.unwrap();
    assert_eq!(registry.lacking().await.unwrap(), []);
}

#[tokio::test]
async fn an_address_without_a_registry_does_not_pass_for_an_empty_one() {
    let (url, server) = serve(Router::new()).await;
    let error = Registry::new(&url).unwrap().lacking().await.unwrap_err();
    assert!(matches!(&error, RegistryError::Refused { status: 404, .. }), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn every_released_schema_is_registered_and_again_changes_nothing() {
    let Some(foreign) = Foreign::start("every_released_schema_is_registered_and_again_changes_nothing")
    else {
        return;
    };
    let (registry, http) = (Registry::new(&foreign.url).unwrap(), reqwest::Client::new());
    let ask = |path: String| http.get(format!("{}{path}", foreign.url)).send();
    others_register(&registry).await;

    let (codec, again) = (Codec::bundled().unwrap(), Codec::bundled().unwrap());
    registry.adopt(&codec).await.unwrap();
    registry.adopt(&again).await.unwrap();
    assert_eq!(id_of(&codec), id_of(&again), "the second time gives the same ids");
    assert_ne!(id_of(&codec), id_of(&Codec::bundled().unwrap()));

    // The registry itself says so, in its own words.
    let mut ids = BTreeMap::new();
    for record in all_records() {
        let subject = Registry::subject(record.topic, record.name);
        let config: Value = ask(format!("/config/{subject}")).await.unwrap().json().await.unwrap();
        assert_eq!(config["compatibilityLevel"], "FULL_TRANSITIVE", "{subject}");
        let versions: Vec<u32> =
            ask(format!("/subjects/{subject}/versions")).await.unwrap().json().await.unwrap();
        let ours = released().unwrap().into_iter().filter(|r| r.name == record.name).count();
        assert_eq!(versions.len(), ours, "{subject}: registered once each");
        let newest: Value =
            ask(format!("/subjects/{subject}/versions/latest")).await.unwrap().json().await.unwrap();
        let id = SchemaId(newest["id"].as_u64().unwrap().try_into().unwrap());
        assert!(codec.knows(id), "{subject}");
        assert!(ids.insert(id, subject).is_none(), "an id for two records");
        let text = registry.fetch(id).await.unwrap();
        let (kept, ours) = (WriterSchema::parse(&text).unwrap(), record.schema.to_string());
        assert_eq!(kept.name(), record.name);
        let ours = WriterSchema::parse(&ours).unwrap();
        assert_eq!(kept.content_hash(b"x"), ours.content_hash(b"x"), "{}: another fingerprint", record.name);
    }

    // What is written under the registry's ids is read by them, and is the same record.
    let (written, bundled) = (codec.encode(&watermark()).unwrap(), Codec::bundled().unwrap());
    assert!(ids.contains_key(&unframe(&written.value).unwrap().0));
    assert_eq!(again.decode::<FillsEvent>(&written.value).unwrap(), watermark().into());
    assert_eq!(written.hash, bundled.encode(&watermark()).unwrap().hash);
}

#[tokio::test]
async fn records_of_newer_writers_stay_readable() {
    let Some(foreign) = Foreign::start("records_of_newer_writers_stay_readable") else { return };
    let registry = Registry::new(&format!("{}/", foreign.url)).unwrap();
    others_register(&registry).await;
    let id = registry.register("fills-polymirror.Watermark", &of_a_newer_program()).await.unwrap();
    let mut value = vec![0];
    value.extend_from_slice(&id.0.to_be_bytes());
    value.extend_from_slice(Codec::bundled().unwrap().encode(&watermark()).unwrap().datum());
    value.extend_from_slice(&[2, 14]); // the second branch of its union: 7

    let alone = Codec::bundled().unwrap();
    assert_eq!(alone.decode::<FillsEvent>(&value).unwrap_err().code(), "record_schema_unknown");

    let codec = Codec::bundled().unwrap();
    registry.attach(&codec);
    assert!(!codec.knows(id));
    assert_eq!(codec.decode::<FillsEvent>(&value).unwrap(), watermark().into());
    assert!(codec.knows(id), "asked once, then known");
    // So that the registry may go away after that.
    drop(foreign);
    assert_eq!(codec.decode::<FillsEvent>(&value).unwrap(), watermark().into());
    assert_ne!(codec.content_hash(&value), alone.content_hash(&value), "a known datum, not raw bytes");
}

#[tokio::test]
async fn an_unknown_id_is_refused_and_stays_unknown_to_the_codec() {
    let Some(foreign) = Foreign::start("an_unknown_id_is_refused_and_stays_unknown_to_the_codec") else {
        return;
    };
    let registry = Registry::new(&foreign.url).unwrap();
    let error = registry.fetch(SchemaId(4_711)).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Refused { status: 404, .. }), "{error}");
    assert!(error.to_string().contains("/schemas/ids/4711"), "{error}");

    let codec = Codec::bundled().unwrap();
    registry.attach(&codec);
    let error = codec.decode::<FillsEvent>(&[0, 0, 0, 0x12, 0x67, 0]).unwrap_err();
    assert_eq!(error.code(), "record_schema_unknown");
}

/// A registry with one answer for each path, beside the tests.
async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_does_not_answer_makes_no_id_unknown() {
    let codec = Codec::bundled().unwrap();
    let read = |codec: &Codec| codec.decode::<FillsEvent>(&[0, 0, 0, 0x12, 0x67, 0]).unwrap_err();
    let busy = || async { (StatusCode::SERVICE_UNAVAILABLE, "busy") };
    let (url, server) = serve(Router::new().route("/schemas/ids/{id}", routing::get(busy))).await;
    Registry::new(&url).unwrap().attach(&codec);
    assert_eq!((read(&codec).code(), read(&codec).is_transient()), ("registry_unreachable", true));
    server.abort();
    let _ = server.await;
    assert_eq!((read(&codec).code(), read(&codec).is_transient()), ("registry_unreachable", true));
    // One that says that it has none was asked to the end.
    let (url, _server) = serve(Router::new()).await;
    Registry::new(&url).unwrap().attach(&codec);
    assert_eq!((read(&codec).code(), read(&codec).is_of_reader()), ("record_schema_unknown", false));
}

/// The foreign registry registers anything; a real one holds new schemas against the old ones and says 409.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_the_registry_finds_incompatible_is_refused() {
    let refuse = |Path(subject): Path<String>| async move {
        if subject == "orders-polymirror.OrderState" {
            let words = json!({ "error_code": 409, "message": "Schema being registered is incompatible" });
            (StatusCode::CONFLICT, Json(words)).into_response()
        } else {
            Json(json!({ "id": 77 })).into_response()
        }
    };
    let agree = || async { Json(json!({ "compatibility": "FULL_TRANSITIVE" })) };
    let router = Router::new()
        .route("/subjects/{subject}/versions", routing::post(refuse))
        .route("/config/{subject}", routing::put(agree));
    let (url, server) = serve(router).await;
    let codec = Codec::bundled().unwrap();
    let error = Registry::new(&url).unwrap().adopt(&codec).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Refused { status: 409, .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.starts_with("registry_refused: ")
            && said.contains("orders-polymirror.OrderState")
            && said.contains("Schema being registered is incompatible"),
        "{said}"
    );
    server.abort();
}

#[tokio::test]
async fn what_is_no_registry_is_told_by_its_words() {
    let page = || async { "<html>a login page</html>" };
    let deny = || async { (StatusCode::FORBIDDEN, "no entry") };
    let router = Router::new()
        .route("/schemas/ids/1", routing::get(page))
        .route("/schemas/ids/2", routing::get(deny))
        .route("/schemas/ids/3", routing::get(|| async { Json(json!({ "schema": "\"string\"" })) }));
    let (url, server) = serve(router).await;
    let registry = Registry::new(&url).unwrap();
    let error = registry.fetch(SchemaId(1)).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Unreachable { .. }), "{error:?}");
    let error = registry.fetch(SchemaId(2)).await.unwrap_err().to_string();
    assert!(error.contains("403") && error.contains("no entry"), "{error}");
    // A schema that is no record's.
    let codec = Codec::bundled().unwrap();
    let text = registry.fetch(SchemaId(3)).await.unwrap();
    assert_eq!(codec.learn(SchemaId(3), &text).unwrap_err().code(), "schema_invalid");
    server.abort();
}

/// Both ways of being away: nobody listens, and somebody listens who never answers.
#[tokio::test]
async fn a_registry_that_is_away_is_told_within_its_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, why) in [(closed, "refused"), (silent.local_addr().unwrap(), "timed out")] {
        let registry = Registry::new(&format!("http://{address}")).unwrap();
        let codec = Codec::bundled().unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(15), registry.adopt(&codec)).await;
        let error = answer.expect("it gives up by itself").unwrap_err();
        let said = error.to_string();
        assert!(matches!(&error, RegistryError::Unreachable { .. }), "{error:?}");
        assert!(said.starts_with("registry_unreachable: ") && said.contains(&address.to_string()), "{said}");
        assert!(said.contains(why), "{said}");
        // The codec goes on as it was.
        assert_eq!(id_of(&codec), id_of(&Codec::bundled().unwrap()));
    }
}

#[tokio::test]
async fn a_registrys_login_is_in_no_error() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [format!("http://ada:sesame@{closed}"), format!("ada:sesame@{closed}")] {
        let error = match Registry::new(&address) {
            Ok(registry) => registry.fetch(SchemaId(1)).await.unwrap_err(),
            Err(error) => error,
        };
        let said = format!("{error} {error:?}");
        assert!(!said.contains("sesame") && !said.contains("ada"), "{said}");
    }
    assert!(!format!("{:?}", Registry::new("http://ada:sesame@127.0.0.1:1").unwrap()).contains("sesame"));
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_and_no_panic() {
    for address in ["", "127.0.0.1:8081", "nonsense://x", "http://"] {
        let error = match Registry::new(address) {
            Ok(registry) => registry.fetch(SchemaId(1)).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().starts_with("registry_unreachable: "), "{address}: {error}");
    }
}
