//! "Did you mean": the nearest of some known words.

/// The word of `known` that `word` is most likely a slip of, if any is near enough.
///
/// Near enough is a third of the letters: fewer finds nothing in short words, more proposes
/// words that have nothing to do with what was typed.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    (known.iter().map(|&candidate| (distance(word, candidate), candidate)))
        .filter(|&(steps, candidate)| steps <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|&(steps, _)| steps)
        .map(|(_, candidate)| candidate)
}

/// Steps from `a` to `b`: a letter more, less, another, or two neighbours swapped.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // `steps[i][j]`: from the first i letters of `a` to the first j of `b`.
    let mut steps = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            steps[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let other = usize::from(a[i - 1] != b[j - 1]);
                    (steps[i - 1][j - 1] + other).min(steps[i - 1][j] + 1).min(steps[i][j - 1] + 1)
                }
            };
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                steps[i][j] = steps[i][j].min(steps[i - 2][j - 2] + 1);
            }
        }
    }
    steps[a.len()][b.len()]
}

/// The sentence part for a message: `; did you mean "x"?`, or nothing.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_steps_between_words() {
        for (a, b, steps) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("upd", "udp", 1)]
        {
            assert_eq!(distance(a, b), steps, "{a} {b}");
            assert_eq!(distance(b, a), steps, "{b} {a}");
        }
    }

    #[test]
    fn proposes_slips_and_nothing_far_fetched() {
        let known = ["cpus", "shards", "idle", "stall_budget"];
        assert_eq!(nearest("cpu", &known), Some("cpus"));
        assert_eq!(nearest("stal_buget", &known), Some("stall_budget"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
