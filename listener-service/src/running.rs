//! The routes at work, and their change while they are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::future::join_all;
use messaging::{Connection, Queue, Source, Status, Subscriber};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    dead_letters::{Drain, Store},
    event_route,
    own_queues::OwnQueues,
    request_route::{self, Responding},
    routes::{EventRoute, RequestRoute, Routes},
    target::Target,
};

/// All routes at work.
pub(crate) struct Running {
    consuming: Connection,
    publishing: Connection,
    store: Option<Store>,
    shutdown: CancellationToken,
    drain_timeout: Duration,
    routes: Mutex<Vec<Arc<RunningRoute>>>,
    own_queues: OwnQueues,
    /// One change at a time.
    change: tokio::sync::Mutex<()>,
}

/// A route at work.
pub(crate) struct RunningRoute {
    route: Route,
    work: Work,
}

/// A route of either kind.
#[derive(Clone, PartialEq, Eq)]
enum Route {
    Events(EventRoute),
    Requests(RequestRoute),
}

/// A route to be, in a change.
enum Planned {
    Kept(Arc<RunningRoute>),
    Fresh(Box<Route>, Box<Target>),
}

enum Work {
    Events {
        subscriber: Subscriber,
        /// Of its dead letters, where they are drained.
        drain: Option<Drain>,
    },
    Requests(Responding),
}

/// What a reload changed, by the names of routes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Changes {
    pub(crate) added: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) unchanged: Vec<String>,
    /// Queues that are consumed no more, and still get events until they are deleted.
    pub(crate) left_queues: Vec<String>,
    /// Bindings that RabbitMQ did not take back: they go on bringing events into their queue.
    pub(crate) left_bindings: Vec<String>,
}

impl Running {
    /// Starts `routes`.
    ///
    /// # Errors
    /// When a target cannot be used as configured.
    pub(crate) fn start(
        routes: Routes,
        consuming: Connection,
        publishing: Connection,
        store: Option<Store>,
        drain_timeout: Duration,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let running = Self {
            consuming,
            publishing,
            store,
            shutdown,
            drain_timeout,
            routes: Mutex::default(),
            own_queues: OwnQueues::default(),
            change: tokio::sync::Mutex::default(),
        };
        let routes = routes.into_list();
        let queues = routes.iter().map(|route| route.source().queue.name());
        running.own_queues.replace(queues);
        let mut started = Vec::new();
        for route in routes {
            let target = route.target()?;
            started.push(running.begin(route, target));
        }
        running.replace(started);
        Ok(running)
    }

    /// The routes at work now.
    pub(crate) fn list(&self) -> Vec<Arc<RunningRoute>> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.clone()
    }

    /// Makes the routes that `load` reads the ones at work. What did not change is not touched;
    /// what did finishes the deliveries in hand before it starts again.
    ///
    /// # Errors
    /// Those of `load`, and when a target cannot be used as configured; then nothing is changed.
    pub(crate) async fn change(
        &self,
        load: impl FnOnce() -> anyhow::Result<Routes>,
    ) -> anyhow::Result<Changes> {
        let _turn = self.change.lock().await;
        // In its turn, so that no older file is applied after a newer one.
        let routes = load()?;
        let mut old = self.list();
        let mut changes = Changes::default();
        let mut plan = Vec::new();
        for route in routes.into_list() {
            let name = route.name().to_owned();
            if let Some(index) = old.iter().position(|running| running.route == route) {
                plan.push(Planned::Kept(old.swap_remove(index)));
                changes.unchanged.push(name);
                continue;
            }
            let was_there = old.iter().any(|running| running.name() == name);
            let list = if was_there {
                &mut changes.changed
            } else {
                &mut changes.added
            };
            list.push(name);
            let target = route.target()?;
            plan.push(Planned::Fresh(Box::new(route), Box::new(target)));
        }
        let gone = old.iter().map(|running| running.name().to_owned());
        changes.removed = gone
            .filter(|name| !changes.changed.contains(name))
            .collect();

        self.stop(&old).await;
        let unbind = old.iter().map(|route| {
            let old = route.route.source();
            let mut new = plan.iter().map(|planned| planned.route().source());
            let new = new.find(|new| new.queue.name() == old.queue.name());
            if new.is_none() && !old.queue.is_exclusive() {
                changes.left_queues.push(old.queue.name().to_owned());
            }
            new.map(|new| self.unbind(old, new))
        });
        let unbind: Vec<_> = unbind.flatten().collect();
        changes.left_bindings = join_all(unbind).await.concat();
        if self.shutdown.is_cancelled() {
            return Ok(changes);
        }
        let queues = plan
            .iter()
            .map(|planned| planned.route().source().queue.name());
        self.own_queues.replace(queues);
        let running = plan.into_iter().map(|planned| match planned {
            Planned::Kept(route) => route,
            Planned::Fresh(route, target) => self.begin(*route, *target),
        });
        self.replace(running.collect());
        info!(?changes, "the routes are changed");
        Ok(changes)
    }

    /// Finishes the deliveries in hand of every route.
    pub(crate) async fn drain(&self) {
        let known = self.list();
        self.stop(&known).await;
        // A change under way may have begun some meanwhile.
        let _turn = self.change.lock().await;
        let mut begun = self.list();
        begun.retain(|route| !known.iter().any(|known| Arc::ptr_eq(known, route)));
        self.stop(&begun).await;
    }

    /// Within the time of one drain, however many they are.
    async fn stop(&self, routes: &[Arc<RunningRoute>]) {
        join_all(routes.iter().map(|route| route.stop(self.drain_timeout))).await;
    }

    /// Takes back the bindings of `old` that `new`, of the same queue, does not ask for any more,
    /// and returns those that stay.
    async fn unbind(&self, old: &Source, new: &Source) -> Vec<String> {
        let is_its_owners = matches!(new.queue, Queue::Existing(_)) && new.exchange.is_none();
        let (queue, Some(exchange)) = (&old.queue, &old.exchange) else {
            return Vec::new();
        };
        // An exclusive queue is gone with its consumer.
        if is_its_owners || queue.is_exclusive() {
            return Vec::new();
        }
        let is_kept = |binding| old.exchange == new.exchange && new.bindings.contains(binding);
        let gone = old.bindings.iter().filter(|binding| !is_kept(binding));
        let (queue, exchange) = (queue.name(), &exchange.name);
        let unbound = gone.map(|binding| async move {
            let error = self
                .consuming
                .unbind(queue, exchange, binding)
                .await
                .err()?;
            warn!(queue, exchange, ?binding, error, "cannot unbind");
            Some(format!("{binding:?} of {queue} to {exchange}: {error}"))
        });
        join_all(unbound).await.into_iter().flatten().collect()
    }

    fn begin(&self, route: Route, target: Target) -> Arc<RunningRoute> {
        let (consuming, publishing) = (&self.consuming, &self.publishing);
        let work = match &route {
            Route::Events(route) => {
                let shutdown = self.shutdown.clone();
                let store = self.store.clone();
                Work::Events {
                    subscriber: event_route::start(
                        route,
                        target,
                        consuming,
                        publishing,
                        shutdown.clone(),
                    ),
                    drain: store.map(|store| Drain::start(route, store, consuming, &shutdown)),
                }
            }
            Route::Requests(route) => {
                let own_queues = self.own_queues.clone();
                Work::Requests(request_route::start(
                    route, target, consuming, publishing, own_queues,
                ))
            }
        };
        Arc::new(RunningRoute { route, work })
    }

    fn replace(&self, routes: Vec<Arc<RunningRoute>>) {
        *self.routes.lock().unwrap_or_else(PoisonError::into_inner) = routes;
    }
}

impl RunningRoute {
    pub(crate) fn name(&self) -> &str {
        self.route.name()
    }

    pub(crate) fn target(&self) -> String {
        match &self.route {
            Route::Events(route) => route.target.to_string(),
            Route::Requests(route) => route.target.to_string(),
        }
    }

    /// Whether deliveries come in.
    pub(crate) fn status(&self) -> Status {
        match &self.work {
            Work::Events { subscriber, .. } => subscriber.status(),
            Work::Requests(responding) => responding.status(),
        }
    }

    /// Why it is paused. A request waits for no target longer than its sender does.
    pub(crate) fn outage(&self) -> Option<String> {
        match &self.work {
            Work::Events { subscriber, .. } => subscriber.outage(),
            Work::Requests(_) => None,
        }
    }

    pub(crate) fn dead_letters(&self) -> Option<&Drain> {
        match &self.work {
            Work::Events { drain, .. } => drain.as_ref(),
            Work::Requests(_) => None,
        }
    }

    async fn stop(&self, deadline: Duration) {
        match &self.work {
            Work::Events { subscriber, drain } => {
                let dead_letters = async {
                    if let Some(drain) = drain {
                        drain.stop(deadline).await;
                    }
                };
                tokio::join!(subscriber.drain(deadline), dead_letters);
            }
            Work::Requests(responding) => responding.drain(deadline).await,
        }
    }
}

impl Planned {
    fn route(&self) -> &Route {
        match self {
            Self::Kept(running) => &running.route,
            Self::Fresh(route, _) => route,
        }
    }
}

impl Route {
    fn name(&self) -> &str {
        match self {
            Self::Events(route) => &route.subscription.name,
            Self::Requests(route) => &route.name,
        }
    }

    fn source(&self) -> &Source {
        match self {
            Self::Events(route) => &route.subscription.source,
            Self::Requests(route) => &route.source,
        }
    }

    fn target(&self) -> anyhow::Result<Target> {
        let config = match self {
            Self::Events(route) => &route.target,
            Self::Requests(route) => &route.target,
        };
        Target::new(config).with_context(|| format!("route \"{}\"", self.name()))
    }
}

impl Routes {
    fn into_list(self) -> Vec<Route> {
        let events = self.events.into_iter().map(Route::Events);
        events
            .chain(self.requests.into_iter().map(Route::Requests))
            .collect()
    }
}
