//! A program next to the gateway, such as those in `examples/`: a test sees what it prints.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use crate::{OrPanic as _, eventually, process::janitor, python};

/// Time for a program to print a line: it may include a start of Python, an import of Celery, and a
/// wait for RabbitMQ.
const LINE_DEADLINE: Duration = Duration::from_secs(60);
const END_DEADLINE: Duration = Duration::from_secs(60);

type Lines = Arc<Mutex<Vec<String>>>;

/// A running program, which is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    pid: u32,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
    /// Killed when this is dropped, before its standard input closes.
    _janitor: Child,
}

impl Program {
    /// Starts Python with `arguments` in the root of the repository, as READMEs say to.
    pub async fn python(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(python::interpreter().await);
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .env("PYTHONUNBUFFERED", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        Self::start(arguments.join(" "), command)
    }

    /// Starts any other program.
    pub fn start(name: impl Into<String>, mut command: Command) -> Self {
        let name = name.into();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().or_panic(&name);
        let lines = Lines::default();
        let stdout = child.stdout.take().map(|stream| read(stream, &lines));
        let stderr = child.stderr.take().map(|stream| read(stream, &lines));
        let Some(pid) = child.id() else {
            panic!("{name} has no process id");
        };
        Self {
            name,
            child,
            pid,
            lines,
            readers: stdout.into_iter().chain(stderr).collect(),
            _janitor: janitor(pid),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it printed so far, on either stream.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until it printed a line with `text` in it, and returns the first such line.
    pub async fn line(&self, text: &str) -> String {
        let what = format!("{} prints {text}", self.name);
        eventually(&what, LINE_DEADLINE, || async {
            self.lines().into_iter().find(|line| line.contains(text))
        })
        .await
    }

    /// Waits until it has ended by itself and all that it printed is read.
    pub async fn end(&mut self) -> ExitStatus {
        let end = async {
            for reader in &mut self.readers {
                reader.await.or_panic("a task that reads lines");
            }
            self.child.wait().await
        };
        timeout(END_DEADLINE, end)
            .await
            .or_panic("a program ends in time")
            .or_panic(&self.name)
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.start_kill().or_panic(&self.name);
        self.end().await;
    }

    /// Runs it to its end, which must be a good one.
    pub async fn succeed(mut self) -> Vec<String> {
        let status = self.end().await;
        assert!(status.success(), "{} ends with {status}", self.name);
        self.lines()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} printed\n{}", self.name, self.lines().join("\n"));
        }
    }
}

fn read(stream: impl AsyncRead + Unpin + Send + 'static, lines: &Lines) -> JoinHandle<()> {
    let all = lines.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}
