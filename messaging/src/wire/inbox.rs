//! Bytes that lapin has not read yet.

use super::frames::{Frames, Step};

/// Bytes that were read and not yet passed to lapin.
pub(super) struct Inbox {
    frames: Frames,
    /// The beginning of an incomplete frame.
    partial: Vec<u8>,
    /// Next for lapin, from `given` on.
    clean: Vec<u8>,
    given: usize,
}

impl Inbox {
    pub(super) fn new(frames: Frames) -> Self {
        Self {
            frames,
            partial: Vec::new(),
            clean: Vec::new(),
            given: 0,
        }
    }

    /// The beginning of a frame, continued by the next read.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// It is returned before later bytes.
    pub(super) fn forget_partial(&mut self) {
        self.partial.clear();
    }

    /// As many ready bytes as fit.
    pub(super) fn give(&mut self, out: &mut [u8]) -> usize {
        let ready = &self.clean[self.given..];
        let given = ready.len().min(out.len());
        out[..given].copy_from_slice(&ready[..given]);
        self.given += given;
        if self.given == self.clean.len() {
            self.clean = Vec::new();
            self.given = 0;
        }
        given
    }

    /// Cleans the read bytes in place. Returns how many of the first ones are ready for lapin; the
    /// rest is kept here.
    pub(super) fn clean(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            match self.frames.step(&mut bytes[at..]) {
                Step::Pass(passed) => at += passed,
                Step::Incomplete => {
                    self.partial.extend_from_slice(&bytes[at..]);
                    break;
                }
                Step::Replace(taken, instead) => {
                    self.clean.extend_from_slice(&instead);
                    self.keep(&mut bytes[at + taken..]);
                    break;
                }
            }
        }
        at
    }

    /// Cleans the read bytes, and keeps all of them here.
    pub(super) fn keep(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            match self.frames.step(&mut bytes[at..]) {
                Step::Pass(passed) => {
                    self.clean.extend_from_slice(&bytes[at..at + passed]);
                    at += passed;
                }
                Step::Incomplete => return self.partial.extend_from_slice(&bytes[at..]),
                Step::Replace(taken, instead) => {
                    self.clean.extend_from_slice(&instead);
                    at += taken;
                }
            }
        }
    }
}
