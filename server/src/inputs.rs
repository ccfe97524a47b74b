//! What a configuration was read from, the text and the files beside it, so that a reload can tell
//! at once that nothing has changed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Larger files are not compared, but read again each time.
const LARGEST: u64 = 16 << 20;

/// See the file's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs {
    /// The text, unless it could not be read.
    pub(crate) text: Option<String>,
    /// The files beside it, with what was in them before they were last read. Not known until a
    /// configuration has been read.
    files: Option<Vec<(PathBuf, Option<Content>)>>,
}

/// Stands for what is in a file.
type Content = [u8; 32];

impl Inputs {
    /// A text, of which it is not known what files it names.
    pub(crate) fn of_text(text: Option<String>) -> Self {
        Self { text, files: None }
    }

    /// This text and the same files as they are now.
    pub(crate) fn now(&self, text: String) -> Self {
        let look = |(path, _): &(PathBuf, _)| (path.clone(), content(path).ok());
        let files = self.files.as_ref().map(|files| files.iter().map(look).collect());
        Self { text: Some(text), files }
    }

    /// Whether what was read is certain to be the same as `before`.
    pub(crate) fn is_same(&self, before: &Self) -> bool {
        let Some(files) = &self.files else { return false };
        let known = files.iter().all(|(_, content)| content.is_some());
        known && self.text.is_some() && self.text == before.text && self.files == before.files
    }

    /// The same, with these files in place of those before. Of one that was not looked at before it
    /// was read, it is not known what was in it.
    pub(crate) fn with_files(self, paths: Vec<PathBuf>) -> Self {
        let before = self.files.unwrap_or_default();
        let known = |path: &PathBuf| before.iter().find(|(other, _)| other == path)?.1;
        let files = paths.into_iter().map(|path| (known(&path), path));
        Self { files: Some(files.map(|(content, path)| (path, content)).collect()), ..self }
    }
}

fn content(path: &Path) -> io::Result<Content> {
    // Neither a directory nor a pipe that would be waited for.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut file = File::open(path)?.take(LARGEST + 1);
    let mut bytes = Vec::new();
    if file.read_to_end(&mut bytes)? as u64 > LARGEST {
        return Err(io::Error::other("it is too large"));
    }
    Ok(Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a reload does: looks at what was known, then learns which files there are.
    fn read(before: &Inputs, text: &str, files: &[&Path]) -> (bool, Inputs) {
        let now = before.now(text.to_owned());
        let same = now.is_same(before);
        (same, now.with_files(files.iter().map(|path| path.to_path_buf()).collect()))
    }

    #[test]
    fn only_what_was_seen_before_is_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = &folder.path().join("cert.pem");
        std::fs::write(file, "one").expect("a file");
        let start = Inputs::of_text(Some("a".into()));
        let (same, first) = read(&start, "a", &[file]);
        assert!(!same, "it is not known which files there are");
        let (same, second) = read(&first, "a", &[file]);
        assert!(!same, "the file may have changed while it was first read");
        let (same, third) = read(&second, "a", &[file]);
        assert!(same);
        std::fs::write(file, "two").expect("a file");
        let (same, fourth) = read(&third, "a", &[file]);
        assert!(!same, "the file has changed");
        let (same, fifth) = read(&fourth, "b", &[file]);
        assert!(!same, "the text has changed");
        std::fs::remove_file(file).expect("it is there");
        assert!(!read(&fifth, "b", &[file]).0, "the file is gone");
    }

    #[test]
    fn a_text_alone_is_compared_from_the_second_reading_on() {
        let (_, first) = read(&Inputs::of_text(Some("a".into())), "a", &[]);
        assert!(read(&first, "a", &[]).0);
        assert!(!read(&first, "b", &[]).0);
    }
}
