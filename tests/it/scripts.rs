//! The scripts that start RabbitMQ and the gateway: `scripts/rabbitmq-node` and `make run`.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tests::{
    OrPanic as _,
    foreign::Foreign,
    port,
    rabbitmq::{signal, virtual_host},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const START_DEADLINE: Duration = Duration::from_secs(120);
const END_DEADLINE: Duration = Duration::from_secs(60);

fn script(name: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let mut command = Command::new(path.join(name));
    command.kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> Output {
    let ended = timeout(END_DEADLINE, command.output()).await;
    ended.or_panic("it ends").or_panic("it starts")
}

/// A shell without job control, which starts a node in the background and ends it with its own stdin.
struct Shell {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    fn starts(command: &str, dir: &Path) -> Self {
        let node = script("rabbitmq-node").as_std().get_program().to_owned();
        let text =
            format!("{command} &\nnode=$!; echo $node; cat; kill $node; wait $node; echo ended $?");
        let mut child = Command::new("sh")
            .args(["-c", &text])
            .args([node.as_os_str(), dir.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .or_panic("sh");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = timeout(START_DEADLINE, self.lines.next_line()).await;
        let line = line.or_panic("a line in time").or_panic("a line");
        line.expect("the shell goes on")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_the_background_runs_until_it_is_terminated() {
    // Such a shell sets its stdin to /dev/null.
    for (command, hangs_up) in [
        ("\"$0\" \"$1\" --remove", false),
        ("\"$0\" \"$1\" --remove <&-", false),
        ("nohup \"$0\" \"$1\" --remove", true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node");
        let mut shell = Shell::starts(command, &node);
        let pid = shell.line().await.parse().unwrap();
        let ready = shell.line().await;
        if hangs_up {
            signal(pid, "HUP");
        }
        let url = ready.split(' ').nth(1).expect("a ready line");
        Foreign::connect(url).await.close().await;
        drop(shell.child.stdin.take());
        assert_eq!(shell.line().await, "ended 0", "{command}");
        assert!(!node.exists(), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_ready_ends_with_the_pipe_or_socket_at_its_stdin() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(near);
    for stdin in [Stdio::piped(), Stdio::from(OwnedFd::from(far))] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = script("rabbitmq-node");
        command.arg(dir.path()).stdin(stdin);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Which closes the pipe first.
        let ended = command.spawn().or_panic("it starts").wait_with_output();
        let ended = timeout(END_DEADLINE, ended).await;
        let Output { status, stderr, .. } = ended.or_panic("it ends").or_panic("it ends");
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{status}: {said}");
        assert!(
            said.contains("since its stdin ended") && !said.contains("did not start"),
            "{said}"
        );
    }
}

/// The address of a program that is not RabbitMQ and answers every connection like this.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(answer).await;
            held.push(stream);
        }
    });
    address.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn make_run_starts_nothing_in_place_of_the_rabbitmq_that_it_was_given() {
    let virtual_host = virtual_host().await;
    let (server, nobody) = (virtual_host.server(), port::reserve());
    let name = &virtual_host.name;
    let web = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let other_version = answering(b"AMQP\x00\x01\x00\x00").await;
    let silent = answering(b"").await;
    for (url, why) in [
        (
            format!("amqp://app:s3cret@{nobody}/shop"),
            format!("amqp://app:***@{nobody}/shop: Connection refused"),
        ),
        (
            format!("amqp://app:s3cret@{server}/{name}"),
            "ACCESS_REFUSED".to_owned(),
        ),
        (
            format!("amqp://guest:s3cret@{server}/{name}"),
            "ACCESS_REFUSED".to_owned(),
        ),
        (
            format!("amqp://guest:guest@{server}/no%2Fsuch"),
            format!("amqp://guest:***@{server}/no%2Fsuch: NOT_ALLOWED"),
        ),
        (
            format!("ampq://app:s3cret@{server}/{name}"),
            "begins with amqp://".to_owned(),
        ),
        (
            format!("app:s3cret@{server}/{name}"),
            "begins with amqp://".to_owned(),
        ),
        (
            format!("amqp://app:s3cret#1@{server}/{name}"),
            "percent-encoded".to_owned(),
        ),
        (
            format!("amqp://app:s3cret@{nobody}1/{name}"),
            "its port or its host is wrong".to_owned(),
        ),
        (
            "amqp://app:s3cret@no-such-host.invalid/".to_owned(),
            "amqp://app:***@no-such-host.invalid:5672/%2F: ".to_owned(),
        ),
        (
            format!("amqp://app:s3cret@{nobody},amqp://app:s3cret@{server}"),
            "refused; amqp://app:***@".to_owned(),
        ),
        (
            format!("amqp://app:s3cret@{web}"),
            "does not speak AMQP 0-9-1".to_owned(),
        ),
        (
            format!("amqp://app:s3cret@{other_version}"),
            "does not speak AMQP 0-9-1".to_owned(),
        ),
        (
            format!("amqp://app:s3cret@{silent}"),
            "no answer within 5 s".to_owned(),
        ),
    ] {
        let mut run = script("run");
        run.env("AMQP_URL", &url);
        // Free ports, so that no other gateway is in the way.
        for service in ["BROKER_ADDR", "AUTH_ADDR", "LOGGER_ADDR", "LISTENER_ADDR"] {
            run.env(service, port::reserve().to_string());
        }
        let Output {
            status,
            stdout,
            stderr,
        } = output(&mut run).await;
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(1), "{url}: {said}");
        assert!(
            said.starts_with("run: AMQP_URL is set, ") && said.contains(&why),
            "{url}: {said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
        assert_eq!(
            String::from_utf8_lossy(&stdout),
            "",
            "{url}: something was begun"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rabbitmq_that_can_be_used_is_named_without_its_password() {
    let virtual_host = virtual_host().await;
    let nobody = port::reserve();
    for url in [
        virtual_host.url.clone(),
        format!("amqp://app:s3cret@{nobody}, {}", virtual_host.url),
    ] {
        let Output { status, stdout, .. } =
            output(script("rabbitmq-answers").env("AMQP_URL", &url)).await;
        assert!(status.success(), "{url}");
        let (server, name) = (virtual_host.server(), &virtual_host.name);
        assert_eq!(
            String::from_utf8_lossy(&stdout),
            format!("amqp://guest:***@{server}/{name}\n")
        );
    }
}
