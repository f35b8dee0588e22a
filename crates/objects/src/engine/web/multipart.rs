//! Finds the parts of multipart/form-data (RFC 7578).

use rquickjs::{Ctx, Function, Object, Result};

use super::value::Bytes;

/// More parts than this in one form are an attack.
const PARTS_LIMIT: usize = 10_000;

/// Puts `multipart(bytes, boundary)` on `ops`: a flat list with four offsets for each part, where its head and its content begin and
/// end; null for bytes that are no form.
pub(super) fn install<'js>(ctx: &Ctx<'js>, ops: &Object<'js>) -> Result<()> {
    ops.set("multipart", Function::new(ctx.clone(), |bytes: Bytes, boundary: String| parts(&bytes.0, &boundary))?)
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(what.len()).position(|window| window == what).map(|at| from + at)
}

fn parts(bytes: &[u8], boundary: &str) -> Option<Vec<usize>> {
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let first = format!("--{boundary}").into_bytes();
    let mut at = if bytes.starts_with(&first) { first.len() } else { find(bytes, 0, &delimiter)? + delimiter.len() };
    let mut offsets = Vec::new();
    loop {
        if bytes.get(at..at + 2)? == b"--" {
            return Some(offsets);
        }
        if offsets.len() >= PARTS_LIMIT * 4 {
            return None;
        }
        let head = find(bytes, at, b"\r\n")? + 2;
        let head_end = find(bytes, head - 2, b"\r\n\r\n")?;
        let content = head_end + 4;
        let end = find(bytes, content - 2, &delimiter)?;
        offsets.extend([head.min(head_end), head_end, content.min(end), end]);
        at = end + delimiter.len();
    }
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn finds_each_part_and_refuses_what_is_cut_off() {
        let form = b"--x\r\nA: 1\r\n\r\none\r\n--x\r\nB: 2\r\n\r\n\r\n--x--\r\n";
        let found = parts(form, "x").expect("a whole form");
        let texts: Vec<&[u8]> = found.chunks(2).map(|pair| &form[pair[0]..pair[1]]).collect();
        assert_eq!(texts, [&b"A: 1"[..], b"one", b"B: 2", b""]);
        assert_eq!(parts(&form[..form.len() - 8], "x"), None);
        assert_eq!(parts(b"", "x"), None);
    }
}
