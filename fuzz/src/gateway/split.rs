//! Bytes that arrive in pieces: an input's first byte says how.

/// Sizes of pieces, the same ones for the same byte: all at once, one by one, or anything up to 16.
pub fn pieces(how: u8) -> impl FnMut() -> usize {
    let mut state = u64::from(how);
    move || match how {
        0 => usize::MAX / 2,
        1 => 1,
        _ => {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 60).unwrap_or(0) + 1
        }
    }
}

/// Up to where so many bytes have arrived after each piece but the last.
pub fn arrivals(how: u8, length: usize) -> Vec<usize> {
    let (mut piece, mut arrivals, mut at) = (pieces(how), Vec::new(), 0);
    while at + 1 < length {
        at = length.min(at + piece());
        arrivals.push(at);
    }
    arrivals
}
