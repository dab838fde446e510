//! Programs in Python, as users of the gateway write them.

mod cloudevents;
mod signed;
