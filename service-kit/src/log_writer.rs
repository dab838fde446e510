//! Log lines on their way to standard output, by a thread of their own.
//!
//! A blocked standard output (a full pipe, a stopped terminal) costs log lines, never requests and
//! never the end of the process: the queue is bounded, and what does not fit is dropped.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait for a slow reader.
const LINES_MAX: usize = 16_384;
/// How long the end of the process waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// Takes one formatted line with each `write`, which never blocks and never fails.
#[derive(Clone)]
pub(crate) struct LogWriter(SyncSender<Message>);

impl LogWriter {
    /// Starts the thread that writes to `output`.
    pub(crate) fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, messages) = sync_channel(LINES_MAX);
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || write_all(output, &messages))?;
        Ok(Self(sender))
    }

    /// Waits a moment for the lines written so far.
    pub(crate) fn drain(&self) {
        let (sender, written) = sync_channel(1);
        // A full queue has a reader that does not read; waiting for it would be in vain.
        if self.0.try_send(Message::Flush(sender)).is_ok() {
            let _ = written.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::Line(line.to_vec())).is_err() {
            metrics::counter!("log_lines_dropped_total").increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(mut output: impl Write, messages: &Receiver<Message>) {
    for message in messages {
        match message {
            // There is no place to report a failed write to.
            Message::Line(line) => drop(output.write_all(&line)),
            Message::Flush(written) => {
                let _ = output.flush();
                let _ = written.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn lines_are_written_in_order() {
        let (output, input) = UnixStream::pair().unwrap();
        let mut writer = LogWriter::new(output).unwrap();
        for line in ["a\n", "b\n"] {
            writer.write_all(line.as_bytes()).unwrap();
        }
        writer.drain();
        drop(writer);
        assert_eq!(io::read_to_string(input).unwrap(), "a\nb\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_nobody() {
        let (output, _input) = UnixStream::pair().unwrap();
        let mut writer = LogWriter::new(output).unwrap();
        let started = Instant::now();
        for _ in 0..2 * LINES_MAX {
            writer.write_all(&[b'x'; 100]).unwrap();
        }
        writer.drain();
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}
