//! A share of the budget.

use bytes::Bytes;

use crate::Budget;

/// Bytes of a [`Budget`], which come back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    pub(crate) fn new(budget: Budget, bytes: usize) -> Self {
        Self { budget, bytes }
    }

    /// How many.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes if they are free now, or none of them.
    #[must_use]
    pub fn try_grow(&mut self, more: usize) -> bool {
        let grown = self.budget.charge(more);
        if grown {
            self.bytes += more;
        }
        grown
    }

    /// Gives back everything except `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let spare = self.bytes.saturating_sub(bytes);
        if spare > 0 {
            self.bytes -= spare;
            self.budget.release(spare);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.bytes);
        }
    }
}

/// `bytes` that keep `held`, such as a [`Share`], until the last slice and clone of them is dropped.
pub fn attach(bytes: impl AsRef<[u8]> + Send + 'static, held: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Attached { bytes, _held: held })
}

struct Attached<B, H> {
    bytes: B,
    _held: H,
}

impl<B: AsRef<[u8]>, H> AsRef<[u8]> for Attached<B, H> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
