//! Shows untrusted text on a terminal.

/// The text without characters that move the cursor, change colours, or reverse the writing
/// direction.
pub(crate) fn shown(text: &str) -> String {
    let turns = |letter| {
        matches!(
            letter,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
    };
    let harmless = |letter: char| {
        if letter.is_control() || turns(letter) {
            ' '
        } else {
            letter
        }
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_becomes_a_space() {
        assert_eq!(shown("a\x1b[31m\nb\u{202e}c\u{9b}é"), "a [31m b c é");
    }
}
