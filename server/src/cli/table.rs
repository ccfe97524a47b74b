//! Tables for people: plain columns, which also cut well with `awk`.

/// Columns as wide as what is in them.
pub(crate) fn table(titles: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        line.join("  ").trim_end().to_owned() + "\n"
    };
    std::iter::once(line(titles)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let titles = ["NAME", "N"].map(String::from);
        let rows = [["users", "2"], ["o", "10"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&titles, &rows), "NAME   N\nusers  2\no      10\n");
    }
}
