//! The nearest valid name to one that is not.

/// The candidate that `name` was most likely meant to be, if any is near enough.
///
/// Compared without regard to case and to `-`, `_` and `.`; near enough is a
/// Damerau-Levenshtein distance of a third of the longer name, at most three.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // The distance takes memory of the product of both lengths, and no valid name is this long.
    const LONGEST: usize = 64;
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let wanted = fold(name);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .filter_map(|candidate| {
            let folded = fold(candidate);
            let longer = wanted.chars().count().max(folded.chars().count());
            let distance = strsim::damerau_levenshtein(&wanted, &folded);
            (distance <= (longer / 3).clamp(1, 3) && distance < longer)
                .then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean …?`, if some candidate is near.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// "`a`, `b` or `c`".
pub(crate) fn alternatives<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.pop() {
        None => String::new(),
        Some(last) if quoted.is_empty() => last,
        Some(last) => format!("{} or {last}", quoted.join(", ")),
    }
}

fn fold(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_case_and_dashes_find_their_name() {
        let names = ["data_dir", "shards", "memory", "checkpoint"];
        assert_eq!(nearest("data-dir", names), Some("data_dir"));
        assert_eq!(nearest("Shards", names), Some("shards"));
        assert_eq!(nearest("chekpoint", names), Some("checkpoint"));
        assert_eq!(nearest("meomry", names), Some("memory"));
    }

    #[test]
    fn far_names_are_not_offered() {
        assert_eq!(nearest("xyz", ["data_dir", "memory"]), None);
        assert_eq!(nearest("a", ["b"]), None);
        assert_eq!(nearest("", ["b"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["xxxxx"]), None);
    }
}
