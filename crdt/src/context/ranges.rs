//! Ordered, disjoint ranges of one actor's counters; both ends are inclusive.

use crate::Actor;
use std::iter::{self, Peekable};

pub(super) type Range = (u64, u64);

/// What is in `left` and not in `right`.
pub(super) fn minus(
    left: impl Iterator<Item = Range>,
    right: impl Iterator<Item = Range>,
) -> impl Iterator<Item = Range> {
    let (mut left, mut right) = (left, right.peekable());
    let mut rest: Option<Range> = None;
    iter::from_fn(move || {
        loop {
            let (start, end) = rest.take().or_else(|| left.next())?;
            skip_before(&mut right, start);
            match right.peek() {
                Some(&(cut, last)) if cut <= end => {
                    rest = (last < end).then(|| (last + 1, end));
                    if start < cut {
                        return Some((start, cut - 1));
                    }
                }
                _ => return Some((start, end)),
            }
        }
    })
}

fn skip_before(ranges: &mut Peekable<impl Iterator<Item = Range>>, start: u64) {
    while ranges.next_if(|&(_, end)| end < start).is_some() {}
}

/// The actors of two ordered lists, each once, in order.
pub(super) fn merged(
    left: impl Iterator<Item = Actor>,
    right: impl Iterator<Item = Actor>,
) -> impl Iterator<Item = Actor> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    iter::from_fn(move || {
        let next = match (left.peek(), right.peek()) {
            (Some(&a), Some(&b)) => a.min(b),
            (Some(&a), None) | (None, Some(&a)) => a,
            (None, None) => return None,
        };
        left.next_if_eq(&next);
        right.next_if_eq(&next);
        Some(next)
    })
}
