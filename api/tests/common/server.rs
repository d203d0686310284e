//! A server over a setup, and a client that holds every answer against the OpenAPI document.

use std::{net::SocketAddr, sync::Arc};

use api::{
    Tenant,
    http::{State, bind, openapi::openapi, serve},
};
use reqwest::{Method, header::HeaderMap};
use runtime::{Board, Stop};
use schemas::Mode;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{Setup, schema::Document};

pub const BASE: &str = "/api/v1/poly";

pub struct Server {
    pub address: SocketAddr,
    pub board: Board,
    pub stop: Stop,
    pub task: JoinHandle<()>,
    pub client: reqwest::Client,
    pub document: Document,
}

/// What the server said.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The answer's body, which must have this status.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }

    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Server {
    pub async fn start(setup: &Setup) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let board = Board::new();
        let state = State {
            accounts: setup.accounts.clone().serving(&[Mode::Simulated, Mode::Paper]),
            log: Arc::new(setup.log.clone()),
            board: board.clone(),
            metrics: Arc::new(|| "poly_mirror_decision{outcome=\"placed\"} 1\n".to_owned()),
        };
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let task = {
            let stop = stop.clone();
            tokio::spawn(async move { serve(listener, state, stop).await.unwrap() })
        };
        let document = Document::new(serde_json::to_value(openapi()).unwrap());
        Self { address, board, stop, task, client: reqwest::Client::new(), document }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends it, and holds the answer against the document.
    pub async fn send(&self, method: Method, path: &str, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let answer = Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        };
        self.document.check(method.as_str(), path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, self.client.get(self.url(path))).await
    }

    /// A client with the token of that tenant.
    pub async fn client_of(&self, setup: &Setup, tenant: Tenant) -> Client<'_> {
        let name = format!("t{}", setup.accounts.token_list(tenant).await.unwrap().len());
        let (_, token) = setup.accounts.token_create(tenant, &name, None).await.unwrap();
        Client { server: self, token: token.expose().to_owned() }
    }
}

/// A tenant's client.
pub struct Client<'s> {
    pub server: &'s Server,
    pub token: String,
}

impl Client<'_> {
    pub fn request(&self, method: &Method, path: &str) -> reqwest::RequestBuilder {
        let url = self.server.url(&format!("{BASE}{path}"));
        self.server.client.request(method.clone(), url).bearer_auth(&self.token)
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = self.request(&method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.server.send(method, &format!("{BASE}{path}"), request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(&body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, Some(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, Some(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, None).await
    }

    /// With a header.
    pub async fn with(&self, method: Method, path: &str, header: (&str, &str), body: Value) -> Answer {
        let request = self.request(&method, path).header(header.0, header.1).json(&body);
        self.server.send(method, &format!("{BASE}{path}"), request).await
    }

    /// With a body as it is.
    pub async fn raw(&self, method: Method, path: &str, kind: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = self.request(&method, path).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        self.server.send(method, &format!("{BASE}{path}"), request).await
    }
}
