//! Filling in what is kept elsewhere: `${env:NAME}` and `${file:PATH}` in a value, so that secrets
//! need not stand in the file. `$${` stands for a plain `${`.

use std::path::{Path, PathBuf};

/// Fills in every reference in `text`. `None` when there is none.
///
/// # Errors
/// What is wrong with a reference, and what mends it.
pub(super) fn fill(text: &str, base: &Path) -> Option<Result<String, (String, String)>> {
    text.contains("${").then(|| fill_all(text, base))
}

fn fill_all(text: &str, base: &Path) -> Result<String, (String, String)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let before = &rest[..start];
        rest = &rest[start + 2..];
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            continue;
        }
        out.push_str(before);
        let Some((reference, after)) = rest.split_once('}') else {
            return Err((format!("`${{{rest}` has no end"), "close it with `}`".into()));
        };
        out.push_str(&look_up(reference, base)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The files that references in `text` name.
pub(super) fn files(text: &str, base: &Path) -> Vec<PathBuf> {
    let pieces: Vec<&str> = text.split("${").collect();
    let references = pieces.windows(2).filter(|pair| !pair[0].ends_with('$'));
    references
        .filter_map(|pair| pair[1].split_once('}')?.0.strip_prefix("file:"))
        .map(|path| base.join(path))
        .collect()
}

fn look_up(reference: &str, base: &Path) -> Result<String, (String, String)> {
    match reference.split_once(':') {
        Some(("env", name)) => std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => (
                format!("the environment variable `{name}` is not set"),
                format!("set it before the start: `export {name}=…`"),
            ),
            std::env::VarError::NotUnicode(_) => (
                format!("the environment variable `{name}` is not UTF-8"),
                "set it to plain text".into(),
            ),
        }),
        Some(("file", path)) => match std::fs::read_to_string(base.join(path)) {
            // Editors and `echo` end a file with a line feed that is no part of the secret.
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => Err((
                format!("the file `{}` cannot be read: {error}", base.join(path).display()),
                "name a readable text file, absolute or from the configuration's folder".into(),
            )),
        },
        _ => Err((
            format!("`${{{reference}}}` names no source"),
            "write `${env:NAME}` or `${file:PATH}`, or `$${` for a plain `${`".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Option<Result<String, String>> {
        fill(text, Path::new("/")).map(|done| done.map_err(|(message, _)| message))
    }

    #[test]
    fn references_are_filled_in_and_others_left() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), "s3cret\n").expect("a file");
        let done = fill("Bearer ${file:secret}!", folder.path());
        assert_eq!(done, Some(Ok("Bearer s3cret!".to_owned())));
        assert_eq!(files("Bearer ${file:secret}!", folder.path()), [folder.path().join("secret")]);
        assert!(files("$${file:x} ${env:PATH}", folder.path()).is_empty());
        assert_eq!(filled("$${x} costs $5"), Some(Ok("${x} costs $5".to_owned())));
        assert_eq!(filled("/users/{id}$"), None);
        assert_eq!(filled("${env:PATH}").map(|done| done.is_ok()), Some(true));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("${env:POSTHOUSE_NOT_SET}", "`POSTHOUSE_NOT_SET` is not set"),
            ("${file:no/such}", "`/no/such` cannot be read"),
            ("${secret}", "names no source"),
            ("${env:PATH", "has no end"),
        ] {
            let message = filled(text).expect("a reference").expect_err(text);
            assert!(message.contains(part), "{message}");
        }
    }
}
