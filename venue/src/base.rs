//! Where the venue may be: over the net only behind TLS.

use std::net::IpAddr;

use url::{Host, Url};

use crate::error::VenueError;

/// A base URL that may be used, and whether it is this machine.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) url: Url,
    pub(crate) local: bool,
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

impl Base {
    /// Reads a base URL of the scheme `secure`, or of `plain` on this machine.
    ///
    /// # Errors
    /// No URL, or one over which credentials would go in the clear.
    pub(crate) fn read(base: &str, secure: &str, plain: &str) -> Result<Self, VenueError> {
        let invalid = |why: &str| VenueError::UrlInvalid { url: base.to_owned(), why: why.to_owned() };
        let url = Url::parse(base).map_err(|e| invalid(&e.to_string()))?;
        let local = is_loopback(&url);
        match url.scheme() {
            scheme if scheme == secure => {}
            scheme if scheme == plain && local => {}
            scheme if scheme == plain => {
                return Err(invalid("credentials would go over the net in the clear"));
            }
            _ => return Err(invalid(&format!("it is neither {plain} nor {secure}"))),
        }
        if url.cannot_be_a_base() || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("it must be a host, and perhaps a path"));
        }
        Ok(Self { url, local })
    }

    /// The URL of a path under it.
    pub(crate) fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
    }
}

/// The TLS library takes its cryptography from the process; an `Err` only says that it has one.
pub(crate) fn provide_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
