//! The place of a scenario's tables in a document: what is between its marks.

use std::{fs, path::Path};

use anyhow::Context as _;

/// Replaces a scenario's part of the document.
pub(crate) fn write(path: &Path, scenario: &str, text: &str) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    let document = fs::read_to_string(path).with_context(name)?;
    let replaced = replace(&document, scenario, text)
        .with_context(|| format!("{} has no marks for {scenario}", path.display()))?;
    fs::write(path, replaced).with_context(name)
}

fn replace(document: &str, scenario: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- bench:{scenario} -->");
    let end = format!("<!-- /bench:{scenario} -->");
    let (before, rest) = document.split_once(&begin)?;
    let (_old, after) = rest.split_once(&end)?;
    let text = text.trim_end();
    Some(format!("{before}{begin}\n\n{text}\n\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let document =
            "# A\n<!-- bench:a -->old<!-- /bench:a -->\n<!-- bench:b -->\nb\n<!-- /bench:b -->\n";
        assert_eq!(
            replace(document, "a", "new\n").unwrap(),
            "# A\n<!-- bench:a -->\n\nnew\n\n<!-- /bench:a -->\n<!-- bench:b -->\nb\n<!-- /bench:b -->\n"
        );
        assert_eq!(replace(document, "c", "new"), None);
        assert_eq!(replace("<!-- bench:a -->", "a", "new"), None);
    }

    #[test]
    fn writing_the_same_twice_changes_nothing() {
        let once = replace("<!-- bench:a --><!-- /bench:a -->", "a", "new").unwrap();
        assert_eq!(replace(&once, "a", "new").unwrap(), once);
    }
}
