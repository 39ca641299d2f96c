//! The same work on many things, on several processors.

use std::{num::NonZero, panic::resume_unwind, thread};

/// For fewer, a thread takes longer to start than its work.
const WORTH_A_THREAD: usize = 64;

/// Does two things at once.
pub fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        (one(), other.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// What the work makes of each of them, in their order.
///
/// # Errors
/// The first, in their order.
pub fn all<T: Sync, R: Send, E: Send>(items: &[T], work: impl Fn(&T) -> Result<R, E> + Sync) -> Result<Vec<R>, E> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (items.len() / WORTH_A_THREAD).clamp(1, processors);
    let done = |part: &[T]| part.iter().map(&work).collect::<Result<Vec<_>, _>>();
    let done = &done;
    let (first, rest) = items.split_at(items.len() / threads);
    thread::scope(|scope| {
        let part = rest.len().div_ceil((threads - 1).max(1)).max(1);
        let rest: Vec<_> = rest.chunks(part).map(|part| scope.spawn(move || done(part))).collect();
        let mut results = done(first)?;
        for thread in rest {
            results.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(results)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_there_are_the_results_come_in_their_order() {
        for count in [0, 1, WORTH_A_THREAD, WORTH_A_THREAD * 2, WORTH_A_THREAD * 7 + 3] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(all(&items, |item| Ok::<_, ()>(item * 2)), Ok(doubled), "{count}");
        }
    }

    #[test]
    fn of_several_errors_the_first_is_told() {
        let items: Vec<usize> = (0..WORTH_A_THREAD * 4).collect();
        assert_eq!(all(&items, |item| if item % 100 == 99 { Err(*item) } else { Ok(()) }), Err(99));
    }
}
