//! A header frame that is too large to buffer: it keeps its properties and loses its headers.

use super::content_header::{FIXED, headers};

/// Bytes kept at each end of a frame: more than all properties except the headers.
const END: usize = 4096;

/// Such a frame while it arrives.
pub(super) struct Oversized {
    /// Bytes of its payload.
    length: usize,
    /// Bytes to come, including the end-of-frame byte.
    left: usize,
    front: Vec<u8>,
    /// The last bytes so far, and temporarily more.
    back: Vec<u8>,
}

impl Oversized {
    /// A frame whose payload of `length` bytes is still to come.
    pub(super) fn new(length: usize) -> Self {
        Self {
            length,
            left: length.saturating_add(1),
            front: Vec::new(),
            back: Vec::new(),
        }
    }

    /// Takes its part of `bytes`, and returns how many.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        let taken = &bytes[..bytes.len().min(self.left)];
        self.left -= taken.len();
        let (front, back) = taken.split_at(taken.len().min(END - self.front.len()));
        self.front.extend_from_slice(front);
        for back in back.chunks(END) {
            self.back.extend_from_slice(back);
            let surplus = self.back.len().saturating_sub(END + 1);
            self.back.drain(..surplus);
        }
        taken.len()
    }

    /// When it is complete: its payload without its headers, and the size of these.
    pub(super) fn finish(&mut self) -> Option<(Vec<u8>, usize)> {
        if self.left > 0 {
            return None;
        }
        self.back.pop(); // the end of the frame
        let whole = self.without_headers();
        Some(whole.unwrap_or_else(|| {
            // Nothing after the flags can be read.
            self.front.truncate(FIXED);
            self.front[FIXED - 2..].fill(0);
            (std::mem::take(&mut self.front), self.length - FIXED)
        }))
    }

    fn without_headers(&mut self) -> Option<(Vec<u8>, usize)> {
        let (start, length) = headers(&mut self.front)?;
        let back_from = self.length.checked_sub(self.back.len())?;
        let behind = (start.checked_add(length)?).checked_sub(back_from)?;
        let mut payload = self.front.get(..start - 4)?.to_vec();
        payload.extend_from_slice(&[0; 4]);
        payload.extend_from_slice(self.back.get(behind..)?);
        Some((payload, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(headers: usize) -> Vec<u8> {
        let mut payload = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        payload.extend_from_slice(&0b1010_0000_1000_0000_u16.to_be_bytes());
        payload.extend_from_slice(b"\x04text");
        payload.extend_from_slice(&u32::try_from(headers).unwrap().to_be_bytes());
        payload.extend(vec![b'x'; headers]);
        payload.extend_from_slice(b"\x02id");
        payload
    }

    fn through(payload: &[u8], step: usize) -> (Vec<u8>, usize) {
        let mut frame = Oversized::new(payload.len());
        for bytes in payload.chunks(step) {
            assert!(frame.finish().is_none());
            assert_eq!(frame.take(bytes), bytes.len());
        }
        assert_eq!(frame.take(b"\xcemore"), 1);
        frame.finish().unwrap()
    }

    #[test]
    fn the_properties_stay_however_it_comes_in() {
        for headers in [10_000, 100_000, 2_000_000] {
            for step in [1000, 4096, 4097, 3_000_000] {
                let (kept, skipped) = through(&payload(headers), step);
                assert_eq!((kept, skipped), (payload(0), headers));
            }
        }
    }

    #[test]
    fn lengths_that_lie_leave_the_size_of_the_body() {
        for lie in [0, 9_999, 20_000, u32::MAX] {
            let mut payload = payload(10_000);
            payload[19..23].copy_from_slice(&lie.to_be_bytes());
            let (kept, _) = through(&payload, 4096);
            assert_eq!(&kept[..12], &payload[..12]);
        }
    }
}
