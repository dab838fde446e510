//! RabbitMQ's management interface, for what AMQP does not report.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{OrPanic as _, http};

/// The management interface, within one virtual host.
#[derive(Clone)]
pub struct Management {
    client: Client,
    url: String,
    virtual_host: String,
}

/// A connection as RabbitMQ lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its channels.
    pub channels: usize,
    /// Publishes on all of them that RabbitMQ has not confirmed.
    pub unconfirmed: u64,
}

impl Management {
    pub(crate) fn new(url: &str, virtual_host: &str) -> Self {
        Self {
            client: http::client(),
            url: url.to_owned(),
            virtual_host: virtual_host.to_owned(),
        }
    }

    pub(crate) async fn create_virtual_host(&self) {
        let name = &self.virtual_host;
        self.expect(Method::PUT, &format!("vhosts/{name}"), None)
            .await;
        let everything = json!({"configure": ".*", "write": ".*", "read": ".*"});
        self.expect(
            Method::PUT,
            &format!("permissions/{name}/guest"),
            Some(everything),
        )
        .await;
    }

    /// Imports definitions; what is there and not in them stays.
    pub async fn import(&self, definitions: &Value) {
        let definitions = Some(definitions.clone());
        self.expect(Method::POST, "definitions", definitions).await;
    }

    /// What the management interface answers to a user.
    pub async fn status_for(&self, user: &str, password: &str) -> StatusCode {
        let request = self.client.get(format!("{}/api/overview", self.url));
        let answer = request.basic_auth(user, Some(password)).send().await;
        answer.or_panic("overview").status()
    }

    /// Names of all queues.
    pub async fn queues(&self) -> Vec<String> {
        let queues = self.get(&format!("queues/{}", self.virtual_host)).await;
        let queues = queues.as_array().cloned().unwrap_or_default();
        let names = queues.iter().filter_map(|queue| queue["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// Arguments of a queue.
    pub async fn arguments(&self, queue: &str) -> Value {
        self.get(&self.queue_path(queue)).await["arguments"].clone()
    }

    /// How many messages a queue has, ready or unacknowledged.
    pub async fn depth(&self, queue: &str) -> usize {
        let queue = self.get(&self.queue_path(queue)).await;
        let depth = queue["messages"].as_u64().unwrap_or_default();
        usize::try_from(depth).or_panic("a number of messages")
    }

    /// Takes all messages of a queue out of it; none of a queue that is not there.
    pub async fn empty(&self, queue: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let path = self.queue_path(queue);
        while self.call(Method::GET, &path, None).await.0 != StatusCode::NOT_FOUND {
            let taken = self.take(queue).await;
            if taken.is_empty() {
                break;
            }
            all.extend(taken);
        }
        all
    }

    /// Publishes a message with all that AMQP 0-9-1 has no room for.
    pub async fn publish(&self, exchange: &str, key: &str, payload: &str) {
        let path = format!("exchanges/{}/{exchange}/publish", self.virtual_host);
        let message = json!({
            "properties": {}, "routing_key": key, "payload": payload, "payload_encoding": "string",
        });
        let answer = self.expect(Method::POST, &path, Some(message)).await;
        assert_eq!(answer["routed"], true, "{path}");
    }

    /// Takes the messages of a queue out of it, up to 1,000.
    pub async fn take(&self, queue: &str) -> Vec<Value> {
        self.take_some(queue, 1000).await
    }

    /// Takes the first messages of a queue out of it.
    pub async fn take_some(&self, queue: &str, count: usize) -> Vec<Value> {
        let path = format!("{}/get", self.queue_path(queue));
        let request = json!({"count": count, "ackmode": "ack_requeue_false", "encoding": "auto"});
        let (status, taken) = self.call(Method::POST, &path, Some(request)).await;
        // A quorum queue is listed a moment before its process runs, and accepts nothing until
        // then.
        if status == StatusCode::BAD_REQUEST && taken.to_string().contains("noproc") {
            return Vec::new();
        }
        assert!(status.is_success(), "{path}: {status} {taken}");
        taken.as_array().cloned().unwrap_or_default()
    }

    /// Deletes a queue with what is in it.
    pub async fn delete_queue(&self, queue: &str) {
        self.expect(Method::DELETE, &self.queue_path(queue), None)
            .await;
    }

    /// Deletes an exchange.
    pub async fn delete_exchange(&self, exchange: &str) {
        let path = format!("exchanges/{}/{exchange}", self.virtual_host);
        self.expect(Method::DELETE, &path, None).await;
    }

    /// Sets a policy, whose `definition` then holds for the queues whose names match `pattern`.
    pub async fn set_policy(&self, name: &str, pattern: &str, definition: Value) {
        let policy = json!({"pattern": pattern, "definition": definition, "apply-to": "queues"});
        let path = format!("policies/{}/{name}", self.virtual_host);
        self.expect(Method::PUT, &path, Some(policy)).await;
    }

    /// How many bindings lead from an exchange to queues; none from one that is not there.
    pub async fn bindings(&self, exchange: &str) -> usize {
        let path = format!("exchanges/{}/{exchange}/bindings/source", self.virtual_host);
        let (_status, bindings) = self.call(Method::GET, &path, None).await;
        bindings.as_array().map_or(0, Vec::len)
    }

    /// Versions of RabbitMQ and of Erlang.
    pub async fn versions(&self) -> (String, String) {
        let overview = self.get("overview").await;
        let version = |name| overview[name].as_str().unwrap_or_default().to_owned();
        (version("rabbitmq_version"), version("erlang_version"))
    }

    /// Deletes the virtual host with all that is in it.
    pub async fn delete_virtual_host(&self) {
        let path = format!("vhosts/{}", self.virtual_host);
        self.expect(Method::DELETE, &path, None).await;
    }

    /// Names of the connections to the virtual host; no two are ever the same.
    pub async fn connections(&self) -> BTreeSet<String> {
        let path = format!("vhosts/{}/connections", self.virtual_host);
        let connections = self.get(&path).await;
        let connections = connections.as_array().cloned().unwrap_or_default();
        let names = connections
            .iter()
            .filter_map(|connection| connection["name"].as_str());
        names.map(str::to_owned).collect()
    }

    /// The connections to the virtual host that their client calls `client`, by RabbitMQ's names.
    pub async fn connections_of(&self, client: &str) -> BTreeMap<String, Listed> {
        let path = format!("vhosts/{}/connections", self.virtual_host);
        let connections = self.get(&path).await;
        let path = format!("vhosts/{}/channels", self.virtual_host);
        let channels = self.get(&path).await;
        let of = |name: &str| {
            let channels = channels.as_array().into_iter().flatten();
            let own = channels.filter(|channel| channel["connection_details"]["name"] == name);
            own.fold((0, 0), |(channels, unconfirmed), channel| {
                let more = channel["messages_unconfirmed"].as_u64();
                (channels + 1, unconfirmed + more.unwrap_or_default())
            })
        };
        let connections = connections.as_array().into_iter().flatten();
        connections
            .filter(|connection| connection["user_provided_name"] == client)
            .filter_map(|connection| connection["name"].as_str())
            .map(|name| {
                let (channels, unconfirmed) = of(name);
                let listed = Listed {
                    channels,
                    unconfirmed,
                };
                (name.to_owned(), listed)
            })
            .collect()
    }

    /// Closes every connection to the virtual host, as an operator may.
    pub async fn close_connections(&self) -> usize {
        let connections = self.connections().await;
        self.close(connections.iter()).await
    }

    /// Closes the connections that their client calls `client`.
    pub async fn close_connections_of(&self, client: &str) -> usize {
        let connections = self.connections_of(client).await;
        self.close(connections.keys()).await
    }

    async fn close(&self, names: impl ExactSizeIterator<Item = &String>) -> usize {
        let closed = names.len();
        for name in names {
            let name = name.replace(' ', "%20").replace('>', "%3E");
            let path = format!("connections/{name}");
            let (status, _body) = self.call(Method::DELETE, &path, None).await;
            // RabbitMQ answers 404 for a connection that has ended, and 500 for one that just ends.
            let gone = [StatusCode::NOT_FOUND, StatusCode::INTERNAL_SERVER_ERROR];
            assert!(
                status.is_success() || gone.contains(&status),
                "{path}: {status}"
            );
        }
        closed
    }

    fn queue_path(&self, queue: &str) -> String {
        format!("queues/{}/{queue}", self.virtual_host)
    }

    async fn get(&self, path: &str) -> Value {
        self.expect(Method::GET, path, None).await
    }

    async fn expect(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, body) = self.call(method, path, body).await;
        assert!(status.is_success(), "{path}: {status} {body}");
        body
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request = self
            .client
            .request(method, format!("{}/api/{path}", self.url))
            .basic_auth("guest", Some("guest"))
            .timeout(Duration::from_secs(30));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.or_panic(path);
        let status = answer.status();
        let body = answer.bytes().await.or_panic(path);
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}
