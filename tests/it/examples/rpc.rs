//! `examples/rpc`: plain AMQP clients ask, and an HTTP service answers.

use tests::rabbitmq::virtual_host;

use super::{http_service, listener, program};

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_to_the_queue_of_whoever_asks() {
    let virtual_host = virtual_host().await;
    let (_service, addr) = http_service("rpc/fibonacci.py").await;
    let listener = listener(&virtual_host, "rpc/routes.toml", &[addr]).await;
    for client in ["rpc/rpc_client.py", "rpc/direct_reply_client.py"] {
        let client = program(&virtual_host, &format!("{client} 30 7 0")).await;
        assert_eq!(
            client.succeed().await,
            [
                "fibonacci(30) = 832040",
                "fibonacci(7) = 13",
                "fibonacci(0) = 0"
            ]
        );
    }
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_ask_at_one_time() {
    let virtual_host = virtual_host().await;
    let (service, addr) = http_service("rpc/fibonacci.py").await;
    let listener = listener(&virtual_host, "rpc/routes.toml", &[addr]).await;
    let one = program(&virtual_host, "rpc/rpc_client.py 10 20 30").await;
    let other = program(&virtual_host, "rpc/direct_reply_client.py 11 21 31").await;
    let (one, other) = (one.succeed().await, other.succeed().await);
    let answers = |lines: Vec<String>| {
        let lines = lines.into_iter();
        let answers = lines.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned());
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answers(one), ["55", "6765", "832040"]);
    assert_eq!(answers(other), ["89", "10946", "1346269"]);
    assert_eq!(service.lines().len(), 7, "each was asked once");
    listener.stop().await;
}
