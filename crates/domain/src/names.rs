//! Names: the order in which people expect them, and those of which an address is made.

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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot be a name here, which is part of an address: 1 to 40 small letters, digits or '-', beginning with a letter and not ending with '-'"
)]
pub struct BadAddressName(String);

/// Names that an address of the server itself may have.
const RESERVED: [&str; 8] = ["www", "api", "apps", "portal", "berth", "localhost", "admin", "mail"];

/// Checks the name of what has an address of its own, `NAME.apps.example.org`.
pub fn check_address_name(name: &str) -> Result<(), BadAddressName> {
    let fits = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with("xn--")
        && !RESERVED.contains(&name);
    if fits { Ok(()) } else { Err(BadAddressName(name.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_an_address() {
        for good in ["a", "ann-1", "x2"] {
            assert_eq!(check_address_name(good), Ok(()), "{good}");
        }
        for bad in ["", "A", "1a", "a-", "a.b", "www", "xn--a", "a_b", &"a".repeat(41)] {
            assert!(check_address_name(bad).is_err(), "{bad}");
        }
    }

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
