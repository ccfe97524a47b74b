//! Tables in Markdown, aligned so that they read well on a terminal too, and the places in
//! BENCHMARKS.md where `--write` puts them.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// One table: a heading and rows of as many cells.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    /// The first column is text, the others are figures and stand to the right.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width + 1);
                    write!(f, "|{dashes}{}", if column == 0 { "-" } else { ":" })?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// Puts `text` between the markers of this section of BENCHMARKS.md.
pub(crate) fn write_section(root: &Path, section: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join("BENCHMARKS.md");
    let document = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let document = replace_section(&document, section, text)
        .with_context(|| format!("BENCHMARKS.md has no markers for `{section}`"))?;
    fs::write(&path, document).with_context(|| format!("write {}", path.display()))?;
    eprintln!("wrote `{section}` into BENCHMARKS.md");
    Ok(())
}

fn replace_section(document: &str, section: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench:{section} -->"), format!("<!-- /bench:{section} -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["proxy", "µs"]);
        table.row(vec!["a".to_owned(), "10.5".to_owned()]);
        assert_eq!(table.to_string(), "| proxy |   µs |\n|-------|-----:|\n| a     | 10.5 |\n");
    }

    #[test]
    fn only_the_section_between_its_markers_changes() {
        let document = "# B\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nend\n";
        let expected = "# B\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nend\n";
        assert_eq!(replace_section(document, "x", "new\n").as_deref(), Some(expected));
        assert_eq!(replace_section(document, "y", "new"), None);
    }
}
