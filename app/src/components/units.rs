//! Amounts as people read them.

/// `512 MiB`, `1.5 GiB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 && unit > 0 && value.fract() >= 0.05 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// `0.5 cores`, `1 core`, of thousandths.
pub fn cores(millis: u32) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    let number = text.trim_end_matches('0').trim_end_matches('.');
    format!("{number} {}", if millis == 1000 { "core" } else { "cores" })
}

/// `1 machine`, `3 machines`, `1,216 machines`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    let word = if number == 1 { one } else { many };
    format!("{} {word}", grouped(number as u64))
}

/// `7`, `1,216`, `12,500,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `0`, `<0.1`, `0.3`, `12`, `1,200`: of what is counted by the second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, rounded")]
pub fn rate(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 0.05 {
        "<0.1".to_owned()
    } else if per_s < 9.95 && per_s.fract() > 0.0 {
        format!("{per_s:.1}")
    } else {
        grouped(per_s.max(0.0).round() as u64)
    }
}

/// `800 µs`, `1.5 ms`, `2 s`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn micros(us: u64) -> String {
    match us {
        ..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", rate(us as f64 / 1e3)),
        1_000_000.. => format!("{} s", rate(us as f64 / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(8 << 30), "8 GiB");
        assert_eq!(bytes(250 << 20), "250 MiB");
        assert_eq!(cores(500), "0.5 cores");
        assert_eq!(cores(1_000), "1 core");
        assert_eq!(cores(2_000), "2 cores");
        assert_eq!(count(1, "host", "hosts"), "1 host");
        assert_eq!(count(0, "host", "hosts"), "0 hosts");
        assert_eq!(count(1_216, "host", "hosts"), "1,216 hosts");
    }

    #[test]
    fn large_numbers_are_grouped_by_three() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_216, "1,216");
        check(12_500_000, "12,500,000");
        check(u64::MAX, "18,446,744,073,709,551,615");
    }

    #[test]
    fn rates_and_times_are_short() {
        let check = |per_s, expected: &str| assert_eq!(rate(per_s), expected);
        check(0.0, "0");
        check(0.016, "<0.1");
        check(0.25, "0.2");
        check(9.97, "10");
        check(12.6, "13");
        check(1_216.4, "1,216");
        let check = |us, expected: &str| assert_eq!(micros(us), expected);
        check(900, "900 µs");
        check(1_500, "1.5 ms");
        check(20_000, "20 ms");
        check(2_000_000, "2 s");
    }
}
