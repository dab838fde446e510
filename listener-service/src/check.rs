//! `listener-service check`: what is wrong with a routes file, and what RabbitMQ would be told.

mod definitions;
mod drawing;
mod permissions;
mod plain;

use std::{
    io::{Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use messaging::topology::{Declaration, Topology};

use crate::{Config, routes::Routes};

/// Explain every mistake in a routes file, or print what the listener would declare
///
/// Asks no RabbitMQ. Exit code 1 when there is a mistake.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct CheckCommand {
    /// The file [default: ROUTES_FILE, or the built-in routes]
    file: Option<PathBuf>,
    #[command(flatten)]
    form: Form,
    /// Also print the permissions that this user, the listener's, needs with AMQP_DECLARE=false
    #[arg(long, requires = "definitions")]
    user: Option<String>,
}

/// In which form the topology is printed.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Form {
    /// Draw it for Graphviz
    #[arg(long)]
    dot: bool,
    /// Draw it as a Mermaid flowchart
    #[arg(long)]
    mermaid: bool,
    /// Print it as JSON: definitions that RabbitMQ can import
    #[arg(long)]
    definitions: bool,
}

impl CheckCommand {
    /// Prints the topology, or all mistakes of the file.
    ///
    /// # Errors
    /// When it cannot print.
    pub(crate) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self { file, form, user } = self;
        let mut config = config.clone();
        if let Some(file) = file {
            config.routes_file = Some(file);
        }
        let routes = match Routes::load(&config) {
            Ok(routes) => routes,
            Err(error) => {
                writeln!(stderr(), "{error:#}")?;
                return Ok(ExitCode::FAILURE);
            }
        };
        let text = if form.dot {
            drawing::dot(&routes)
        } else if form.mermaid {
            drawing::mermaid(&routes)
        } else if form.definitions {
            let vhost = config.amqp_url.vhost();
            let mut definitions = definitions::definitions(&declarations(&routes), vhost);
            if let Some(user) = user {
                let letters = config.dead_letters;
                let (names, types) = permissions::permissions(&routes, letters, &user, vhost);
                definitions["permissions"] = names;
                definitions["topic_permissions"] = types;
            }
            serde_json::to_string_pretty(&definitions).context("the definitions as JSON")? + "\n"
        } else {
            plain::text(&routes)
        };
        stdout().lock().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All that the routes declare, each thing once.
fn declarations(routes: &Routes) -> Vec<Declaration> {
    let events = routes.events.iter();
    let subscriptions = events.clone().map(|route| route.subscription.topology());
    let answers = events.filter_map(|route| Some(Topology::responses(route.answers_for.as_ref()?)));
    let requests = routes.requests.iter();
    let requests = requests.map(|route| Topology::requests(&route.source));
    let mut all = Vec::new();
    for topology in subscriptions.chain(answers).chain(requests) {
        for declaration in topology.declarations() {
            if !all.contains(declaration) {
                all.push(declaration.clone());
            }
        }
    }
    all
}
