//! A topology as a picture: exchanges, queues and targets.

use std::{
    collections::BTreeMap,
    fmt::{Arguments, Write as _},
};

use messaging::{Queue, Source};

use super::plain::{keys, kind};
use crate::routes::Routes;

/// For Graphviz.
pub(super) fn dot(routes: &Routes) -> String {
    let picture = Picture::of(routes);
    let mut text = "digraph routes {\n  rankdir=LR\n".to_owned();
    for (label, id) in &picture.nodes {
        let Label(shape, words) = label;
        let shape = match shape {
            Shape::Exchange => "hexagon",
            Shape::Queue => "cylinder",
            Shape::Target => "box",
        };
        line(
            &mut text,
            format_args!("  n{id} [shape={shape} label={}]", quoted(words)),
        );
    }
    for Arrow { from, to, words } in &picture.arrows {
        line(
            &mut text,
            format_args!("  n{from} -> n{to} [label={}]", quoted(words)),
        );
    }
    text + "}\n"
}

/// For Mermaid.
pub(super) fn mermaid(routes: &Routes) -> String {
    let picture = Picture::of(routes);
    let mut text = "flowchart LR\n".to_owned();
    for (Label(shape, words), id) in &picture.nodes {
        let words = escaped(words);
        match shape {
            Shape::Exchange => line(&mut text, format_args!("  n{id}{{{{\"{words}\"}}}}")),
            Shape::Queue => line(&mut text, format_args!("  n{id}[(\"{words}\")]")),
            Shape::Target => line(&mut text, format_args!("  n{id}[\"{words}\"]")),
        }
    }
    for Arrow { from, to, words } in &picture.arrows {
        match escaped(words).as_str() {
            "" => line(&mut text, format_args!("  n{from} --> n{to}")),
            words => line(
                &mut text,
                format_args!("  n{from} -- \"{words}\" --> n{to}"),
            ),
        }
    }
    text
}

#[derive(Default)]
struct Picture {
    nodes: BTreeMap<Label, usize>,
    arrows: Vec<Arrow>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Label(Shape, String);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Shape {
    Exchange,
    Queue,
    Target,
}

struct Arrow {
    from: usize,
    to: usize,
    words: String,
}

impl Picture {
    fn of(routes: &Routes) -> Self {
        let mut picture = Self::default();
        for route in &routes.events {
            let subscription = &route.subscription;
            picture.route(
                &subscription.source,
                route.target.to_string(),
                &subscription.name,
            );
        }
        for route in &routes.requests {
            picture.route(&route.source, route.target.to_string(), &route.name);
        }
        picture
    }

    fn route(&mut self, source: &Source, target: String, name: &str) {
        let queue = match &source.queue {
            Queue::Own(name) | Queue::Existing(name) => name.clone(),
            Queue::Exclusive(name) => format!("{name}, one of each instance"),
        };
        let queue = self.node(Shape::Queue, queue);
        if let Some(exchange) = &source.exchange {
            let words = format!("{} ({})", exchange.name, kind(exchange));
            let from = self.node(Shape::Exchange, words);
            self.arrow(from, queue, keys(&source.bindings));
        }
        let target = self.node(Shape::Target, target);
        self.arrow(queue, target, name.to_owned());
    }

    fn node(&mut self, shape: Shape, words: String) -> usize {
        let next = self.nodes.len();
        *self.nodes.entry(Label(shape, words)).or_insert(next)
    }

    fn arrow(&mut self, from: usize, to: usize, words: String) {
        self.arrows.push(Arrow { from, to, words });
    }
}

/// A quoted text of the DOT language.
fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Mermaid supports entities, not escapes.
fn escaped(words: &str) -> String {
    words.replace('#', "#35;").replace('"', "#quot;")
}

fn line(text: &mut String, line: Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{line}");
}
