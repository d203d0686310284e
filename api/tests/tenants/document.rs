//! The OpenAPI document and the router say the same.

use std::collections::BTreeSet;

use crate::common::{
    server::{BASE, Server},
    setup,
};
use reqwest::Method;

#[tokio::test]
async fn every_route_is_in_the_document_and_everything_in_it_is_served() {
    let setup = setup().await;
    let server = Server::start(&setup).await;
    let served = server.get("/api/v1/openapi.json").await.ok(200);
    assert!(served["openapi"].as_str().unwrap().starts_with("3."));
    // Routes come by `routes!`, which writes the document; one that was added past it would stand in the sources.
    let mut open = vec![testkit::workspace_root().join("api/src/http")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            for past in [".route(", ".route_service(", ".nest(", ".nest_service("] {
                assert!(!text.contains(past), "{} has {past}", path.display());
            }
        }
    }
    let tenant = setup.accounts.create_tenant("alice").await.unwrap();
    let client = server.client_of(&setup, tenant).await;
    assert_eq!(server.document.unresolved(), BTreeSet::new());
    let operations = server.document.operations();
    assert_eq!(operations.len(), 21, "{operations:#?}");
    for (method, template) in operations {
        let path = template
            .replace("{id}", &tenant.user.to_string())
            .replace("{asset}", "7")
            .replace("{key}", "0x00");
        let method: Method = method.parse().unwrap();
        let request = server.client.request(method.clone(), server.url(&path));
        let nobody = server.send(method.clone(), &path, request).await;
        let is_private = template.starts_with(BASE);
        assert_eq!(nobody.status == 401, is_private, "{method} {template}: {}", nobody.text);
        if is_private {
            let request = server.client.request(method.clone(), server.url(&path)).bearer_auth(&client.token);
            let answer = server.send(method.clone(), &path, request).await;
            assert!(![401, 405, 500].contains(&answer.status), "{method} {template}: {}", answer.text);
        }
    }
}
