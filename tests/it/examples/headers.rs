//! `examples/headers`: events are routed by their headers, all of which must match, or any.

use axum::http::StatusCode;
use tests::{rabbitmq::virtual_host, target::Target};

use super::{listener, program};

#[tokio::test(flavor = "multi_thread")]
async fn headers_decide_who_gets_a_document() {
    let virtual_host = virtual_host().await;
    let short_pdfs = Target::answering(StatusCode::OK).await;
    let previews = Target::answering(StatusCode::OK).await;
    let targets = [short_pdfs.addr, previews.addr];
    let listener = listener(&virtual_host, "headers/routes.toml", &targets).await;
    for headers in [
        "format=pdf pages=3",
        "format=pdf pages=400",
        "format=html kind=image",
        "format=html pages=3",
    ] {
        let line = format!("headers/documents.py {headers}");
        program(&virtual_host, &line).await.succeed().await;
    }
    let previewed = previews.wait_for(3).await;
    let short = short_pdfs.wait_for(1).await;
    assert_eq!(short[0].body, r#"{"format": "pdf", "pages": 3}"#);
    assert_eq!(short[0].header("ce-type"), "document.added");
    assert!(
        previewed
            .iter()
            .all(|document| document.body != r#"{"format": "html", "pages": 3}"#)
    );
    // What nobody wants was published before what all have by now.
    assert_eq!((short_pdfs.count(), previews.count()), (1, 3));
    listener.stop().await;
}
