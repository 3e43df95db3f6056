//! Aligned columns that fit the terminal.

use super::escape::one_line;

const GAP: usize = 2;
/// No column is made narrower than this to fit.
const NARROWEST: usize = 6;

/// Header and rows as aligned lines; columns are shortened, the widest first, until they fit `width`.
pub(super) fn layout(columns: &[&str], rows: &[Vec<String>], width: Option<usize>) -> String {
    let header = columns.iter().map(|name| one_line(name).to_uppercase()).collect();
    let mut lines: Vec<Vec<String>> = vec![header];
    for row in rows {
        lines.push((0..columns.len()).map(|i| one_line(row.get(i).map_or("", String::as_str)).into_owned()).collect());
    }
    let mut widths: Vec<usize> = (0..columns.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or_default())
        .collect();
    fit(&mut widths, width.unwrap_or(usize::MAX));
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, &width) in line.iter().zip(&widths) {
            let cell = shortened(cell, width);
            text.push_str(&format!("{cell:<width$}{:GAP$}", ""));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn fit(widths: &mut [usize], available: usize) {
    loop {
        let total: usize = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(widest) = widths.iter_mut().max() else { return };
        if total <= available || *widest <= NARROWEST {
            return;
        }
        *widest -= 1;
    }
}

fn shortened(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_are_aligned_and_end_without_spaces() {
        let rows = rows(&[&["org.freedesktop.hostname1", "1"], &["ü", "22"], &["short"]]);
        assert_eq!(
            layout(&["name", "pid"], &rows, None),
            "NAME                       PID\norg.freedesktop.hostname1  1\nü                          22\nshort\n"
        );
    }

    #[test]
    fn the_widest_column_gives_way() {
        let rows = rows(&[&["abcdefghijklmnopqrst", "1234567"]]);
        assert_eq!(layout(&["a", "b"], &rows, Some(20)), "A            B\nabcdefghij…  1234567\n");
        assert_eq!(layout(&["a", "b"], &rows, Some(1)), "A       B\nabcde…  12345…\n");
        assert_eq!(layout(&[], &rows, Some(1)), "\n\n");
    }

    #[test]
    fn a_cell_forges_no_line_and_drives_no_terminal() {
        let rows = rows(&[&["a\nfake row\x1b[31m"]]);
        assert_eq!(layout(&["x"], &rows, None), "X\na\\nfake row\\u{1b}[31m\n");
    }
}
