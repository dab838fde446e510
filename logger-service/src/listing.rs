//! What all listings have in common: parameters, conditions, and the cursor between two pages.

mod conditions;
mod cursor;
pub(crate) mod parameter;
mod search;

pub(crate) use conditions::Conditions;
pub(crate) use cursor::{Cursor, Fingerprint};
pub(crate) use parameter::TypePattern;
pub(crate) use search::{Search, SearchError, Searches};
