//! What a routes file can say, each seen at a target.

mod check;
mod kinds;
mod limits;
mod ordered;
mod reload;

use tests::target::Target;

/// A route to `target` with `lines`.
fn route(name: &str, target: &Target, lines: &str) -> String {
    format!(
        "[[route]]\nname = \"{name}\"\ntarget = \"http://{}/\"\n{lines}\n",
        target.addr
    )
}
