//! The programs in `examples/`, at work beside the suite as their READMEs say.

mod celery;
mod goamqp;
mod headers;
mod order_email;
mod publish_subscribe;
mod redelivery;
mod rpc;

use std::{net::SocketAddr, path::Path};

use tests::{
    port,
    program::Program,
    rabbitmq::VirtualHost,
    suite::{Service, listener_alone},
};

/// Where the first and the second target of a routes file listen.
const TARGETS: [&str; 2] = ["http://127.0.0.1:9101", "http://127.0.0.1:9102"];

/// A routes file in `examples/`, with the targets of a test in it.
fn routes(file: &str, targets: &[SocketAddr]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut routes = std::fs::read_to_string(path.join(file)).unwrap();
    for (example, target) in TARGETS.into_iter().zip(targets) {
        assert!(routes.contains(example), "{file} has no target {example}");
        routes = routes.replace(example, &format!("http://{target}"));
    }
    routes
}

/// A listener with a routes file in `examples/`, ready.
async fn listener(virtual_host: &VirtualHost, file: &str, targets: &[SocketAddr]) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let listener = listener_alone(&virtual_host.url, dir.path(), &routes(file, targets)).await;
    listener.ready().await;
    listener
}

/// A program in `examples/` and its arguments, as one types them.
async fn program(virtual_host: &VirtualHost, line: &str) -> Program {
    program_with(virtual_host, line, &[]).await
}

/// The same with arguments that have spaces in them.
async fn program_with(virtual_host: &VirtualHost, line: &str, more: &[&str]) -> Program {
    let line = format!("examples/{line}");
    let arguments: Vec<_> = line.split(' ').chain(more.iter().copied()).collect();
    let url = virtual_host.url.as_str();
    Program::python(&arguments, &[("AMQP_URL", url), ("BROKER_URL", url)]).await
}

/// An HTTP service in `examples/`, listening.
async fn http_service(file: &str) -> (Program, SocketAddr) {
    let addr = port::reserve();
    (http_service_at(file, addr).await, addr)
}

async fn http_service_at(file: &str, addr: SocketAddr) -> Program {
    let (file, port) = (format!("examples/{file}"), addr.port().to_string());
    let service = Program::python(&[&file, &port], &[]).await;
    service.line("listening").await;
    service
}

/// Without blank lines and comments.
fn settings(routes: &str) -> Vec<&str> {
    let lines = routes.lines().map(|line| line.split('#').next());
    let settings = lines.flatten().map(str::trim_end);
    settings.filter(|line| !line.is_empty()).collect()
}

#[test]
fn readmes_show_the_routes_that_run() {
    for example in [
        "celery",
        "goamqp",
        "headers",
        "order-email",
        "publish-subscribe",
        "redelivery",
        "rpc",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let readme = std::fs::read_to_string(folder.join(example).join("README.md")).unwrap();
        let (_before, shown) = readme.split_once("```toml\n").unwrap();
        let (shown, _after) = shown.split_once("```").unwrap();
        let routes = routes(&format!("{example}/routes.toml"), &[]);
        assert_eq!(settings(shown), settings(&routes), "{example}");
    }
}
