//! Programs in Python, as users of the gateway write them.

mod celery;
mod cloudevents;
mod signed;
