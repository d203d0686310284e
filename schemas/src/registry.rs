//! A Confluent schema registry, for those who run one: ids come from it, and schemas it knows can be read.
//!
//! Subjects are named after topic and record (`fills-polymirror.Fill`), since several record types stand in one
//! topic. Without a registry the bundled ids are used, and this module is not.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::json;

use crate::{
    avro::NAMESPACE,
    codec::{Codec, CodecError, SchemaId, SchemaSource, released},
    events::all_records,
};

/// What every schema here keeps to.
const COMPATIBILITY: &str = "FULL_TRANSITIVE";
/// How long the registry may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What a registry answers where it has no such subject, or not that schema under it.
const NOT_THERE: [u32; 2] = [40_401, 40_403];
/// The media type of the Confluent API.
const MEDIA: &str = "application/vnd.schemaregistry.v1+json";

/// What is wrong with a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not answer.
    #[error("registry_unreachable: {url}: {why}. Check the address, or leave it out to use the bundled ids")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// It says no.
    #[error(
        "registry_refused: {what}: {status} {message}. The registry holds another schema under this subject, or \
             allows no new ones"
    )]
    Refused {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's own number for what is wrong, where it gives one.
        code: Option<u32>,
        /// Its words.
        message: String,
    },
    /// It gave a schema that is none, or the bundle is broken.
    #[error(transparent)]
    Schema(#[from] CodecError),
}

/// A client of a registry's REST API.
#[derive(Clone)]
pub struct Registry {
    base: String,
    /// The same for people: without user and password.
    shown: String,
    http: reqwest::Client,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.shown).finish()
    }
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: Option<u32>,
    message: Option<String>,
}

impl Registry {
    /// A client for the registry at that URL. Nothing is asked yet.
    ///
    /// # Errors
    /// A client that cannot be made: the system's certificates cannot be read.
    pub fn new(base: &str) -> Result<Self, RegistryError> {
        // reqwest panics without one, for plain HTTP too. The first one installed stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .build()
            .map_err(|e| RegistryError::Unreachable { url: without_login(base), why: causes(&e) })?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { shown: without_login(&base), base, http })
    }

    /// The subject of a record.
    pub fn subject(topic: crate::topics::Topic, name: &str) -> String {
        format!("{}-{NAMESPACE}.{name}", topic.name())
    }

    /// Registers every released schema, oldest first, and makes the codec write under the registry's ids. Doing so
    /// again changes nothing.
    ///
    /// # Errors
    /// A registry that does not answer, or holds something incompatible under one of our subjects.
    pub async fn adopt(&self, codec: &Codec) -> Result<(), RegistryError> {
        let released = released()?;
        for record in all_records() {
            let subject = Self::subject(record.topic, record.name);
            self.put(&format!("/config/{subject}"), &json!({ "compatibility": COMPATIBILITY })).await?;
            let mut versions: Vec<_> = released.iter().filter(|r| r.name == record.name).collect();
            versions.sort_by_key(|r| r.version);
            for version in versions {
                let id = self.register(&subject, version.json).await?;
                // The newest comes last and stays.
                codec.write_as(record.name, id, version.json)?;
            }
        }
        Ok(())
    }

    /// The released schemas that [`Registry::adopt`] would register, as subject and version. Changes nothing.
    ///
    /// # Errors
    /// A registry that does not answer, or that answers as none.
    pub async fn lacking(&self) -> Result<Vec<(String, u32)>, RegistryError> {
        let released = released()?;
        let mut lacking = Vec::new();
        for record in all_records() {
            let subject = Self::subject(record.topic, record.name);
            for version in released.iter().filter(|r| r.name == record.name) {
                if !self.knows(&subject, version.json).await? {
                    lacking.push((subject.clone(), version.version));
                }
            }
        }
        Ok(lacking)
    }

    async fn knows(&self, subject: &str, schema: &str) -> Result<bool, RegistryError> {
        let path = format!("/subjects/{subject}");
        let request = self.http.post(format!("{}{path}", self.base));
        let body = json!({ "schemaType": "AVRO", "schema": schema });
        match self.send::<IdAnswer>(&path, request, Some(&body)).await {
            Ok(_) => Ok(true),
            Err(RegistryError::Refused { code: Some(code), .. }) if NOT_THERE.contains(&code) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Registers a schema and gives its id; the same schema has the same id.
    ///
    /// # Errors
    /// As [`Registry::adopt`].
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, RegistryError> {
        let path = format!("/subjects/{subject}/versions");
        let request = self.http.post(format!("{}{path}", self.base));
        let body = json!({ "schemaType": "AVRO", "schema": schema });
        let answer: IdAnswer = self.send(&path, request, Some(&body)).await?;
        Ok(SchemaId(answer.id))
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// As [`Registry::adopt`]; an unknown id is refused.
    pub async fn fetch(&self, id: SchemaId) -> Result<String, RegistryError> {
        let path = format!("/schemas/ids/{}", id.0);
        let request = self.http.get(format!("{}{path}", self.base));
        let answer: SchemaAnswer = self.send(&path, request, None).await?;
        Ok(answer.schema)
    }

    async fn put(&self, path: &str, body: &serde_json::Value) -> Result<(), RegistryError> {
        let request = self.http.put(format!("{}{path}", self.base));
        self.send::<serde_json::Value>(path, request, Some(body)).await.map(drop)
    }

    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        mut request: reqwest::RequestBuilder,
        body: Option<&serde_json::Value>,
    ) -> Result<T, RegistryError> {
        if let Some(body) = body {
            request = request.header("content-type", MEDIA).body(body.to_string());
        }
        let unreachable = |e: reqwest::Error| RegistryError::Unreachable {
            url: format!("{}{what}", self.shown),
            why: causes(&e.without_url()),
        };
        let answer = request.header("accept", MEDIA).send().await.map_err(unreachable)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unreachable)?;
        if !status.is_success() {
            let said = serde_json::from_str::<ErrorAnswer>(&text).ok();
            let code = said.as_ref().and_then(|e| e.error_code);
            let message = said.and_then(|e| e.message).unwrap_or_else(|| text.chars().take(200).collect());
            return Err(RegistryError::Refused {
                what: what.to_owned(),
                status: status.as_u16(),
                code,
                message,
            });
        }
        serde_json::from_str(&text).map_err(|e| RegistryError::Unreachable {
            url: format!("{}{what}", self.shown),
            why: e.to_string(),
        })
    }

    /// Makes the codec ask this registry for ids it does not know: records of newer writers stay readable.
    pub fn attach(&self, codec: &Codec) {
        codec.ask(Arc::new(Lookup(self.base.clone())));
    }
}

/// A URL as it may be printed: whoever reads a log shall not read a password.
pub fn without_login(url: &str) -> String {
    let Some(mut parsed) = reqwest::Url::parse(url).ok().filter(reqwest::Url::has_host) else {
        // Nobody can say where in it a login would stand.
        return if url.contains('@') { "(not a URL)".to_owned() } else { url.to_owned() };
    };
    // Both fail only for URLs that can hold neither.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.as_str().trim_end_matches('/').to_owned()
}

/// An error and what it came from: reqwest says what happened in the last of them.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Looks an id up from code that cannot wait: once per unknown id, on a thread and a runtime of its own.
struct Lookup(String);

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lookup").field(&without_login(&self.0)).finish()
    }
}

impl SchemaSource for Lookup {
    fn schema(&self, id: SchemaId) -> Result<Option<String>, String> {
        let base = self.0.clone();
        let ask = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            match runtime.block_on(async { Registry::new(&base)?.fetch(id).await }) {
                Ok(schema) => Ok(Some(schema)),
                // It answered, and has none. Everything else says nothing of the id.
                Err(error @ RegistryError::Refused { status: 404, .. }) => {
                    tracing::warn!(%error, id = id.0, "schema not found");
                    Ok(None)
                }
                Err(error) => Err(error.to_string()),
            }
        };
        std::thread::spawn(ask).join().unwrap_or_else(|_| Err("the thread that asked died".to_owned()))
    }
}
