//! A virtual host as deploy/rabbitmq provides it: the topology is there, and each service is a user
//! with the least permissions.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    OrPanic as _, process,
    rabbitmq::{VirtualHost, virtual_host},
    suite::{self, Options, Suite},
};

const SCRIPT_DEADLINE: Duration = Duration::from_secs(30);

/// A virtual host with its users.
pub struct Provided {
    /// The virtual host; its URL is that of an administrator.
    pub virtual_host: VirtualHost,
    /// What can be imported into it.
    pub definitions: Value,
    passwords: TempDir,
}

impl Provided {
    /// Provides the topology of `routes`, the text of a file or the built-in ones, with what
    /// `arguments` tell the script.
    pub async fn new(routes: Option<&str>, arguments: &[&str]) -> Self {
        let provided = Self::without_import(routes, arguments).await;
        provided.import(&provided.definitions).await;
        provided
    }

    /// The same where a test imports what it wants.
    pub async fn without_import(routes: Option<&str>, arguments: &[&str]) -> Self {
        let virtual_host = virtual_host().await;
        let passwords = tempfile::tempdir().or_panic("a directory");
        let topology = topology(&virtual_host, routes).await;
        let directory = passwords.path().display().to_string();
        let arguments = [&["--passwords", &directory], arguments].concat();
        let made = script(&topology, &arguments).await;
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{errors}");
        Self {
            virtual_host,
            definitions: serde_json::from_slice(&made.stdout).or_panic("definitions"),
            passwords,
        }
    }

    /// Imports definitions, such as [`Self::definitions`] with a change.
    pub async fn import(&self, definitions: &Value) {
        self.virtual_host.management.import(definitions).await;
    }

    /// The definitions with other permissions of a user: `kind` is configure, write or read.
    pub fn with_permission(&self, user: &str, kind: &str, pattern: &str) -> Value {
        let user = self.user(user);
        let mut definitions = self.definitions.clone();
        let permissions = definitions["permissions"].as_array_mut();
        let permissions = permissions.into_iter().flatten();
        for permission in permissions.filter(|permission| permission["user"] == user) {
            permission[kind] = pattern.into();
        }
        definitions
    }

    /// The definitions with another pattern of the types that a user may publish.
    pub fn with_types(&self, user: &str, pattern: &str) -> Value {
        let user = self.user(user);
        let mut definitions = self.definitions.clone();
        let permissions = definitions["topic_permissions"].as_array_mut();
        let permissions = permissions.into_iter().flatten();
        for permission in permissions.filter(|permission| permission["user"] == user) {
            permission["write"] = pattern.into();
        }
        definitions
    }

    /// Full name of a user, such as `broker`.
    pub fn user(&self, user: &str) -> String {
        format!("{}-{user}", self.virtual_host.name)
    }

    /// Password of a user.
    pub fn password(&self, user: &str) -> String {
        let path = self.passwords.path().join(self.user(user));
        let password = std::fs::read_to_string(path).or_panic(user);
        password.trim().to_owned()
    }

    /// `AMQP_URL` of a user.
    pub fn url(&self, user: &str) -> String {
        let (name, password) = (self.user(user), self.password(user));
        let VirtualHost { name: vhost, .. } = &self.virtual_host;
        format!(
            "amqp://{name}:{password}@{}/{vhost}",
            self.virtual_host.server()
        )
    }

    /// Starts the suite, whose services declare nothing, each as its own user, and waits for nothing.
    pub async fn suite(&self, routes: Option<&str>) -> Suite {
        let options = Options {
            routes: routes.map(str::to_owned),
            amqp_declare: false,
            ..Options::default()
        };
        let dir = tempfile::tempdir().or_panic("a directory");
        let logger = suite::logger(dir.path()).await;
        let auth = suite::auth(dir.path(), &options).await;
        let url = self.url("listener");
        let listener = suite::listener(&url, dir.path(), &logger, &auth, &options).await;
        let broker = suite::broker(&self.url("broker"), &options).await;
        Suite {
            broker,
            listener,
            logger,
            auth,
            dir,
        }
    }
}

/// Runs deploy/rabbitmq/definitions with `topology` as its input.
pub async fn script(topology: &[u8], arguments: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rabbitmq/definitions");
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .or_panic("deploy/rabbitmq/definitions");
    write(&mut child, topology).await;
    timeout(SCRIPT_DEADLINE, child.wait_with_output())
        .await
        .or_panic("the script ends in time")
        .or_panic("deploy/rabbitmq/definitions")
}

/// Closes the input at the end. A script that did not read it all says why by itself.
async fn write(child: &mut Child, input: &[u8]) {
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(input).await;
    }
}

async fn topology(virtual_host: &VirtualHost, routes: Option<&str>) -> Vec<u8> {
    let dir = tempfile::tempdir().or_panic("a directory");
    let file = dir.path().join("routes.toml");
    let file_name = file.display().to_string();
    let user = format!("{}-listener", virtual_host.name);
    let mut arguments = vec!["--amqp-url", &virtual_host.url, "check"];
    if let Some(routes) = routes {
        std::fs::write(&file, routes).or_panic("the routes file");
        arguments.push(&file_name);
    }
    arguments.extend(["--definitions", "--user", &user]);
    let checked = process::run("listener-service", &arguments).await;
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{errors}");
    checked.stdout
}
