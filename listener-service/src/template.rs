//! Environment variables in a text of the routes file.

/// Replaces each `${NAME}`. A base URL loses its last slash, so that `${BASE}/path` fits.
pub(crate) fn expand(
    template: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or("a ${ has no closing }")?;
        let value =
            variable(name).ok_or_else(|| format!("${{{name}}} is not set in the environment"))?;
        text.push_str(before);
        text.push_str(value.strip_suffix('/').unwrap_or(&value));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_a_missing_one_is_told() {
        let variable = |name: &str| (name == "BASE").then(|| "http://x/".to_owned());
        assert_eq!(
            expand("${BASE}/a?b=${BASE}", variable).unwrap(),
            "http://x/a?b=http://x"
        );
        assert_eq!(
            expand("http://y/$a{b}", variable).unwrap(),
            "http://y/$a{b}"
        );
        assert!(expand("${OTHER}/", variable).unwrap_err().contains("OTHER"));
        assert!(expand("${BASE", variable).is_err());
    }
}
