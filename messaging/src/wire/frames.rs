//! Frames in a stream of bytes (AMQP 0-9-1, 4.2.3).

use std::{collections::HashMap, sync::Arc};

use super::{content_header, method, oversized::Oversized};
use crate::intake::Intake;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xce;

/// Type, channel and length.
const HEAD: usize = 7;
/// All that a frame has beside its payload.
const OVERHEAD: usize = HEAD + 1;
/// No peer may ask for less.
const FRAME_MIN: u32 = 4096;
/// A header frame up to this size, or up to frame_max, is gathered as a whole. RabbitMQ takes 128 KiB
/// from a publisher unless it is set up otherwise.
const GATHERED_MAX: usize = 1024 * 1024;

/// What a body that is left out becomes, so that lapin hears of RabbitMQ meanwhile.
const HEARTBEAT_FRAME: [u8; OVERHEAD] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END];

/// The frames that come in on one connection.
pub(super) struct Frames {
    /// As lapin has it. RabbitMQ applies it to the frames of bodies alone.
    frame_max: u32,
    state: State,
    /// Where deliveries take their bytes, if they are bounded.
    intake: Option<Arc<Intake>>,
    /// By channel, the delivery whose header comes next: its tag, and whether it was delivered before.
    delivered: HashMap<u16, (u64, bool)>,
    /// By channel, bytes to come of a body that is left out.
    left_out: HashMap<u16, u64>,
}

enum State {
    /// Between two frames.
    Boundary,
    /// In a frame that nobody looks at, with so many bytes of it to come.
    Passing(usize),
    /// In a frame that is left out, with so many bytes of it to come.
    LeavingOut(usize),
    /// In a header frame that is too large to be gathered.
    Oversized([u8; HEAD], Oversized),
    /// What comes is not what RabbitMQ sends. That is for lapin to say.
    Foreign,
}

/// What becomes of the bytes at the front of those that were read.
pub(super) enum Step {
    /// So many pass.
    Pass(usize),
    /// So many are taken away, and these come in their stead.
    Replace(usize, Vec<u8>),
    /// They are the beginning of a frame that is gathered.
    Incomplete,
}

impl Frames {
    /// For a client that asks for `frame_max`; with 0 or none it has what RabbitMQ offers.
    pub(super) fn new(frame_max: Option<u32>, intake: Option<Arc<Intake>>) -> Self {
        Self {
            frame_max: frame_max.unwrap_or_default(),
            state: State::Boundary,
            intake,
            delivered: HashMap::new(),
            left_out: HashMap::new(),
        }
    }

    /// Looks at some bytes, one at least. What passes may have been cleaned in place.
    pub(super) fn step(&mut self, bytes: &mut [u8]) -> Step {
        match &mut self.state {
            State::Boundary => self.begin(bytes),
            State::Foreign => Step::Pass(bytes.len()),
            State::Passing(left) => {
                let passing = bytes.len().min(*left);
                *left -= passing;
                if *left == 0 {
                    self.state = State::Boundary;
                }
                Step::Pass(passing)
            }
            State::LeavingOut(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left > 0 {
                    return Step::Replace(taken, Vec::new());
                }
                self.state = State::Boundary;
                Step::Replace(taken, HEARTBEAT_FRAME.to_vec())
            }
            State::Oversized(head, oversized) => {
                let (head, taken) = (*head, oversized.take(bytes));
                let Some((mut payload, skipped)) = oversized.finish() else {
                    return Step::Replace(taken, Vec::new());
                };
                self.state = State::Boundary;
                self.admit(head, payload.len() + skipped, &mut payload);
                let cleaned = content_header::clean(&mut payload, skipped, self.payload_max());
                Step::Replace(taken, frame(head, &cleaned.unwrap_or(payload)))
            }
        }
    }

    fn begin(&mut self, bytes: &mut [u8]) -> Step {
        if !matches!(bytes[0], METHOD | HEADER | BODY | HEARTBEAT) {
            self.state = State::Foreign;
            return Step::Pass(bytes.len());
        }
        let Some((head, rest)) = bytes.split_first_chunk_mut::<HEAD>() else {
            return Step::Incomplete;
        };
        let [kind, _, _, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        self.state = match kind {
            METHOD | HEADER if length <= GATHERED_MAX.max(self.payload_max()) => {
                // With the byte after it that ends the frame.
                let Some(payload) = rest.get_mut(..=length) else {
                    return Step::Incomplete;
                };
                return self.gathered(*head, &mut payload[..length]);
            }
            HEADER => State::Oversized(*head, Oversized::new(length)),
            METHOD => State::Foreign,
            BODY if self.is_left_out(channel(*head), length) => {
                State::LeavingOut(length.saturating_add(OVERHEAD))
            }
            _ => State::Passing(length.saturating_add(OVERHEAD)),
        };
        match self.state {
            State::Oversized(..) => Step::Replace(HEAD, Vec::new()),
            _ => self.step(bytes),
        }
    }

    /// Cleans a method or the header of a message.
    fn gathered(&mut self, head: [u8; HEAD], payload: &mut [u8]) -> Step {
        let length = OVERHEAD + payload.len();
        if head[0] == METHOD {
            method::clean(payload);
            if let Some(frame_max) = method::tuned(payload) {
                self.tune(frame_max);
            }
            self.note(channel(head), payload);
            return Step::Pass(length);
        }
        self.admit(head, payload.len(), payload);
        match content_header::clean(payload, 0, self.payload_max()) {
            None => Step::Pass(length),
            Some(cleaned) => Step::Replace(length, frame(head, &cleaned)),
        }
    }

    /// Notes what a method says of the deliveries of its channel.
    fn note(&mut self, channel: u16, payload: &[u8]) {
        let Some(intake) = &self.intake else { return };
        if let Some(delivery) = method::delivered(payload) {
            self.delivered.insert(channel, delivery);
        } else if method::ends_channel(payload) {
            intake.forget(channel);
            self.delivered.remove(&channel);
            self.left_out.remove(&channel);
        }
    }

    /// Takes the bytes of a delivery. Where there is no room the header says that there is no body.
    fn admit(&mut self, head: [u8; HEAD], length: usize, payload: &mut [u8]) {
        let channel = channel(head);
        let delivery = self.delivered.remove(&channel);
        let Some((intake, (tag, again))) = self.intake.as_ref().zip(delivery) else {
            return;
        };
        let Some(size) = content_header::body_size(payload) else {
            return;
        };
        let body = u64::from_be_bytes(*size);
        if !intake.admit(channel, tag, again, length, body) && body > 0 {
            *size = [0; 8];
            self.left_out.insert(channel, body);
        }
    }

    /// Whether a frame with so many bytes is of a body that is left out.
    fn is_left_out(&mut self, channel: u16, length: usize) -> bool {
        let Some(left) = self.left_out.get_mut(&channel) else {
            return false;
        };
        *left = left.saturating_sub(length as u64);
        if *left == 0 {
            self.left_out.remove(&channel);
        }
        true
    }

    /// As lapin does it, when RabbitMQ says what it offers.
    fn tune(&mut self, offered: u32) {
        if offered != 0 && (self.frame_max == 0 || offered < self.frame_max) {
            self.frame_max = offered.max(FRAME_MIN);
        }
    }

    fn payload_max(&self) -> usize {
        let frame_max = match self.frame_max {
            0 => u32::MAX,
            some => some.max(FRAME_MIN),
        };
        frame_max as usize - OVERHEAD
    }
}

fn channel([_, high, low, ..]: [u8; HEAD]) -> u16 {
    u16::from_be_bytes([high, low])
}

fn frame(mut head: [u8; HEAD], payload: &[u8]) -> Vec<u8> {
    // It was shortened to fit.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    head[3..].copy_from_slice(&length.to_be_bytes());
    [&head, payload, &[FRAME_END]].concat()
}
