//! What a cleaned message says of itself.

/// The header that names what was replaced in a message, or left out, before it was read.
pub(crate) const CLEANED: &str = "x-gw-cleaned";
/// Most bytes of its text.
pub(crate) const NOTE_BYTES_MAX: usize = 255;

/// Bytes that are left for a last word on how much is not named.
const REST: usize = 24;

/// Its text in the making. The first ones are named, the rest counted.
#[derive(Default)]
pub(super) struct Note {
    text: String,
    unnamed: usize,
}

impl Note {
    pub(super) fn replaced(&mut self, what: &str, name: &[u8]) {
        self.add("replaced bytes in", what, name);
    }

    pub(super) fn dropped(&mut self, what: &str, name: &[u8]) {
        self.add("left out", what, name);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn add(&mut self, verb: &str, what: &str, name: &[u8]) {
        let separator = if self.text.is_empty() { "" } else { "; " };
        let space = if name.is_empty() { "" } else { " " };
        let name = printable(name);
        let addition = format!("{separator}{verb} {what}{space}{name}");
        if self.unnamed == 0 && self.text.len() + addition.len() <= NOTE_BYTES_MAX - REST {
            self.text.push_str(&addition);
        } else {
            self.unnamed += 1;
        }
    }

    pub(super) fn into_text(self) -> String {
        let Self { mut text, unnamed } = self;
        if unnamed > 0 {
            text.push_str(&format!("; {unnamed} more"));
        }
        text
    }
}

/// The beginning of a name, in ASCII.
fn printable(name: &[u8]) -> String {
    let graphic = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
    name.iter().take(48).map(graphic).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_short_and_counts_the_rest() {
        let mut note = Note::default();
        assert!(note.is_empty());
        note.replaced("message_id", b"");
        for _ in 0..5000 {
            note.dropped("the header", &[b'\n'; 255]);
        }
        let text = note.into_text();
        assert!(text.starts_with("replaced bytes in message_id; left out the header ???"));
        assert!(text.ends_with("; 4998 more"), "{text}");
        assert!(text.len() <= NOTE_BYTES_MAX);
    }
}
