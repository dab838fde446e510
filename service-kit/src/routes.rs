//! The routes of a service, with the limits that differ from those of all others.

use std::collections::HashMap;

use axum::Router;

/// What [`serve`](crate::server::serve) serves. A plain [`Router`] is one without exceptions.
#[derive(Debug, Default)]
pub struct Routes {
    pub(crate) router: Router,
    pub(crate) large_bodies: HashMap<&'static str, LargeBodies>,
}

/// The bodies of one route that may be larger than `MAX_BODY_BYTES`.
#[derive(Debug, Clone, Copy)]
pub struct LargeBodies {
    /// Largest body in bytes, whatever `MAX_BODY_BYTES` is.
    pub bytes_max: usize,
}

impl Routes {
    /// Lets the route with exactly this path template take large bodies.
    #[must_use]
    pub fn with_large_bodies(mut self, route: &'static str, bodies: LargeBodies) -> Self {
        self.large_bodies.insert(route, bodies);
        self
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self {
            router,
            ..Self::default()
        }
    }
}
