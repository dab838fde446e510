//! What lapin has not read yet.

use super::frames::{Frames, Step};

/// What was read and is not lapin's yet.
pub(super) struct Inbox {
    frames: Frames,
    /// The beginning of a frame that has not come in as a whole.
    partial: Vec<u8>,
    /// To be given out next, from `given` on.
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

    /// The beginning of a frame, which what is read next continues.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// It comes back before what was read after it.
    pub(super) fn forget_partial(&mut self) {
        self.partial.clear();
    }

    /// What is ready, as much of it as fits.
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

    /// Cleans what was read, in place: so many bytes at its front are to be given out as they are
    /// now. What comes after them is kept here.
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

    /// Cleans what was read, and keeps all of it here.
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
