//! The word that was probably meant.

/// The one of `words` that is nearest to `text`, if that is at most half of it away.
pub fn nearest<'a>(text: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near =
        words.into_iter().map(|word| (distance(text, word), word)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, word)| *distance <= word.len() / 2).map(|(_, word)| word)
}

/// Edits that make one text of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn what_is_too_far_is_not_meant() {
        let words = ["listen", "data_dir"];
        assert_eq!(nearest("listn", words), Some("listen"));
        assert_eq!(nearest("data-dir", words), Some("data_dir"));
        assert_eq!(nearest("zzz", words), None);
        assert_eq!(nearest("x", []), None);
    }
}
