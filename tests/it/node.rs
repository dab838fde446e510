//! Programs on Node, as users of the gateway write them.

mod nestjs;
