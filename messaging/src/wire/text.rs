//! Short strings (AMQP 0-9-1, 4.2.5.3): a byte of length, then the text.

/// Replaces each byte that is not UTF-8 with `?`; returns whether there was any.
pub(super) fn replace_invalid(bytes: &mut [u8]) -> bool {
    let mut from = 0;
    let mut replaced = false;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        from += error.valid_up_to();
        bytes[from] = b'?';
        from += 1;
        replaced = true;
    }
    replaced
}

/// The short string at the front, or `None` if it is longer than the input.
pub(super) fn short(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let (length, rest) = bytes.split_first_mut()?;
    rest.get_mut(..usize::from(*length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_utf8_is_replaced() {
        for (text, clean) in [
            (&b"caf\xc3\xa9"[..], "café"),
            (b"caf\xe9", "caf?"),
            (b"\xff\xc3\xa9\xc3", "?é?"),
            (b"\xe2\x82", "??"),
            (b"", ""),
        ] {
            let mut bytes = text.to_vec();
            assert_eq!(replace_invalid(&mut bytes), bytes != text);
            assert_eq!(bytes, clean.as_bytes());
        }
    }
}
