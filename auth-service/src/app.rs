//! What the handlers share.

use std::sync::Arc;

use sealing::KeyPair;
use store::Database;

use crate::hasher::Hasher;
use crate::token::Tokens;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) database: Database,
    pub(crate) hasher: Hasher,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) sealing: Arc<KeyPair>,
}

impl App {
    pub(crate) fn new(
        database: Database,
        hasher: Hasher,
        tokens: Tokens,
        sealing: KeyPair,
    ) -> Self {
        Self {
            database,
            hasher,
            tokens: Arc::new(tokens),
            sealing: Arc::new(sealing),
        }
    }
}
