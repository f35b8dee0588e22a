//! Exceptions of JavaScript as [`Problem`]s.

use crate::wire::Problem;
use rquickjs::Value;

/// What was thrown, read without running code of the user: for errors of compiling, and of our own scripts.
pub(crate) fn of_exception(value: &Value<'_>) -> Problem {
    let Some(object) = value.as_object() else {
        let text = value.as_string().and_then(|text| text.to_string().ok());
        return Problem::new("Error", text.unwrap_or_else(|| "a value that is no error was thrown".to_owned()));
    };
    let read = |key: &str| object.get::<_, Option<String>>(key).ok().flatten();
    let stack = read("stack");
    let mut problem =
        Problem::new(read("name").unwrap_or_else(|| "Error".to_owned()), read("message").unwrap_or_default());
    problem.place = stack.as_deref().and_then(place);
    problem.stack = stack;
    problem
}

/// The first place in a stack that is in a module of the user: `    at name (file.js:3:5)` or `    at file.js:3:5`.
pub(crate) fn place(stack: &str) -> Option<(String, u32, u32)> {
    stack.lines().find_map(|line| {
        let line = line.trim().strip_prefix("at ")?;
        let inner = match line.rsplit_once('(') {
            Some((_, inner)) => inner.trim_end_matches(')'),
            None => line,
        };
        let (rest, column) = inner.rsplit_once(':')?;
        let (file, row) = rest.rsplit_once(':')?;
        let place = (file.to_owned(), row.parse().ok()?, column.parse().ok()?);
        (!file.starts_with("berth:")).then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_place_is_the_first_one_of_the_users() {
        let stack = "    at then (native)\n    at dispatch (berth:dispatch:3:4)\n    at fetch (lib/a.js:12:7)\n";
        assert_eq!(place(stack), Some(("lib/a.js".into(), 12, 7)));
        assert_eq!(place("    at index.js:2:11\n"), Some(("index.js".into(), 2, 11)));
        assert_eq!(place("    at x (native)"), None);
    }
}
