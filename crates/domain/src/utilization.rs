//! How much machines were used: time that claims hold, against time that was there.

use jiff::SignedDuration;

use crate::interval::Interval;

/// How long `claims` hold their machines within `within`; of two at once, both count.
pub fn held(within: Interval, claims: impl IntoIterator<Item = Interval>) -> SignedDuration {
    let cut = |claim: Interval| {
        let from = claim.start().max(within.start());
        claim.end().min(within.end()).duration_since(from).max(SignedDuration::ZERO)
    };
    claims.into_iter().map(cut).fold(SignedDuration::ZERO, SignedDuration::saturating_add)
}

/// `held` of all the time that `machines` had in `within`, 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "shown in whole percent")]
pub fn share(held: SignedDuration, machines: usize, within: Interval) -> f64 {
    let there = within.duration().as_secs_f64() * machines as f64;
    if there > 0.0 { (held.as_secs_f64() / there).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: i64, to: i64) -> Interval {
        let at = |hour: i64| jiff::Timestamp::from_second(hour * 3_600).unwrap();
        Interval::new(at(from), at(to)).unwrap()
    }

    #[test]
    fn claims_are_cut_to_the_window() {
        let check = |claims: &[Interval], expected| {
            assert_eq!(held(hours(8, 16), claims.iter().copied()), SignedDuration::from_hours(expected), "{claims:?}");
        };
        check(&[], 0);
        check(&[hours(0, 8), hours(16, 20)], 0);
        check(&[hours(6, 10), hours(15, 20)], 3);
        check(&[hours(0, 24), hours(9, 10)], 9);
    }

    #[test]
    fn no_machine_is_used_to_nothing() {
        assert!(share(SignedDuration::from_hours(4), 0, hours(0, 8)).abs() < f64::EPSILON);
        assert!((share(SignedDuration::from_hours(4), 2, hours(0, 8)) - 0.25).abs() < f64::EPSILON);
    }
}
