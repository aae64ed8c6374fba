//! Logarithms without floats: the same bits on every machine.

/// Bits behind the point of what [`log2`] returns.
pub const LOG2_POINT: u32 = 32;

/// The binary logarithm of `x`, rounded down to 32 bits behind the point; that of 0 is taken as 0.
///
/// Bit by bit, by squaring: Knuth, The Art of Computer Programming, section 1.2.2, exercise 28.
pub fn log2(x: u64) -> u64 {
    let x = x.max(1);
    let mut result = u64::from(x.ilog2()) << LOG2_POINT;
    // The mantissa, from 1 up to 2, with 63 bits behind the point.
    let mut mantissa = x << x.leading_zeros();
    for bit in (0..LOG2_POINT).rev() {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        mantissa = match u64::try_from(square) {
            Ok(below_two) => below_two,
            Err(_) => {
                result |= 1 << bit;
                (square >> 1) as u64
            }
        };
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for power in 0..64u32 {
            assert_eq!(log2(1 << power), u64::from(power) << LOG2_POINT);
        }
    }

    #[test]
    fn others_are_within_the_last_bits() {
        for x in [3, 5, 10, 1000, 4096 * 7 + 1, u64::MAX / 3, u64::MAX] {
            let exact = (x as f64).log2() * 2f64.powi(LOG2_POINT as i32);
            assert!((log2(x) as f64 - exact).abs() < 64.0, "log2({x}) = {} but {exact}", log2(x));
        }
    }

    #[test]
    fn it_never_falls() {
        let steps = (0..4096u64).map(|i| u64::MAX - (4096 - i));
        assert!(steps.map(log2).is_sorted());
    }
}
