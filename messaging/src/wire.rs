//! What stands between the socket and lapin: a stream that makes of every frame one that lapin can
//! take.
//!
//! lapin parses strictly, and all routes share its connection. A byte that is not UTF-8 in a short
//! string, a table nested some thousand deep, or a header frame above frame_max, which RabbitMQ sends
//! all the same, would end the connection for all of them, and again at each redelivery. So nothing
//! of this gets as far as lapin: what cannot be represented is replaced, and what does not fit is left
//! out. The message names both in its header [`CLEANED`].
//!
//! A frame without faults passes as it is, and in place: only a frame that ends in a later read is
//! copied. Bodies are never looked at.

mod content_header;
mod frames;
mod inbox;
mod kit;
mod method;
mod note;
mod oversized;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use async_rs::{Runtime, Tokio};
use lapin::{
    ConnectionProperties,
    tcp::{AMQPUriTcpExt as _, AsyncTcpStream},
    uri::AMQPUri,
};

use crate::intake::Intake;

use self::{frames::Frames, kit::Kit, stream::CleanStream};

pub(crate) use self::{
    content_header::parsable,
    note::{CLEANED, NOTE_BYTES_MAX, was_replaced},
};

/// Connects to a node, with the cleaning stream in between, which lets in what finds room in
/// `intake`. TLS and its trust roots are lapin's own.
pub(crate) async fn connect(
    uri: AMQPUri,
    properties: ConnectionProperties,
    intake: Option<Arc<Intake>>,
) -> lapin::Result<lapin::Connection> {
    let frame_max = uri.query.frame_max;
    let tokio = Runtime::new(Tokio::current());
    let connect = async move |uri: AMQPUri, _runtime: Runtime<Kit>| {
        let socket = uri.connect_async(&tokio).await?;
        let clean = CleanStream::new(socket, Frames::new(frame_max, intake.clone()));
        Ok(AsyncTcpStream::Plain(clean))
    };
    let runtime = Runtime::new(Kit::current());
    lapin::Connection::connector(uri, runtime, connect, properties).await
}
