//! The order in which people expect names.

/// As many digits as a number in a name is given to be compared by.
const DIGITS: usize = 12;

/// What sorts as people count: `slot-2` before `slot-10`. Different names never have the same key. Numbers of more than
/// 12 digits sort as text.
pub fn sort_key(name: &str) -> String {
    let mut key = String::with_capacity(name.len() * 2 + 2 * DIGITS);
    let mut rest = name;
    while let Some(at) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        let number = number.trim_start_matches('0');
        key.push_str(before);
        key.extend(std::iter::repeat_n('0', DIGITS.saturating_sub(number.len())));
        key.push_str(number);
        rest = after;
    }
    key.push_str(rest);
    // `slot-1` and `slot-01`.
    key.push(' ');
    key.push_str(name);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_counted() {
        let sorted = [
            "a",
            "host-2/slot-1",
            "host-2/slot-2",
            "host-2/slot-010",
            "host-2/slot-10",
            "host-10/slot-1",
            "z9",
            "z10b",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by_key(|name| sort_key(name));
        assert_eq!(names, sorted);
        assert_ne!(sort_key("slot-1"), sort_key("slot-01"));
    }
}
