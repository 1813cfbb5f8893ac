//! Numbers out of measurements: what is in the middle, what is rare, and what something costs for each.

/// The smallest measurement that at least this share of them does not exceed: the nearest rank, never between two.
/// Sorts them; there is none of none.
pub(super) fn percentile(measured: &mut [f64], percent: f64) -> Option<f64> {
    measured.sort_unstable_by(f64::total_cmp);
    let rank = (percent / 100.0 * measured.len() as f64).ceil() as usize;
    measured.get(rank.saturating_sub(1)).copied()
}

/// One number for each of another, if there are any.
pub(super) fn per(count: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| count / of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measurement_that_enough_do_not_exceed() {
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (percent, expected) in
            [(0.0, 1.0), (1.0, 1.0), (50.0, 50.0), (95.0, 95.0), (99.0, 99.0), (100.0, 100.0)]
        {
            assert_eq!(percentile(&mut hundred, percent), Some(expected), "{percent}");
        }
        let mut fifteen: Vec<f64> = (1..=15).map(f64::from).collect();
        assert_eq!(percentile(&mut fifteen, 50.0), Some(8.0));
        assert_eq!(percentile(&mut fifteen, 95.0), Some(15.0));
        assert_eq!(percentile(&mut [7.0], 50.0), Some(7.0));
        assert_eq!(percentile(&mut [], 50.0), None);
    }

    #[test]
    fn nothing_costs_nothing_for_each_of_none() {
        assert_eq!(per(3.0, 2.0), Some(1.5));
        assert_eq!(per(0.0, 2.0), Some(0.0));
        assert_eq!(per(3.0, 0.0), None);
    }
}
