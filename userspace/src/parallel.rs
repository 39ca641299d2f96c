//! The same work on many things, on several processors.

use std::{
    num::NonZero,
    panic::resume_unwind,
    thread::{self, ScopedJoinHandle},
};

/// For fewer, a thread takes longer to start than its work.
const WORTH_A_THREAD: usize = 64;

/// Does two things at once; one after the other where there is no thread to be had.
pub fn both<A, B: Send>(one: impl FnOnce() -> A, other: impl Fn() -> B + Sync) -> (A, B) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, &other);
        let one = one();
        (one, thread.map_or_else(|_| other(), joined))
    })
}

/// What the work makes of each of them, in their order.
///
/// # Errors
/// The first, in their order.
pub fn all<T: Sync, R: Send, E: Send>(items: &[T], work: impl Fn(&T) -> Result<R, E> + Sync) -> Result<Vec<R>, E> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = (items.len() / WORTH_A_THREAD).clamp(1, processors);
    let work = &|part: &[T]| part.iter().map(&work).collect::<Result<Vec<_>, _>>();
    let mut parts = items.chunks(items.len().div_ceil(threads).max(1));
    let first = parts.next().unwrap_or_default();
    thread::scope(|scope| {
        let start = |part| (part, thread::Builder::new().spawn_scoped(scope, move || work(part)));
        let others: Vec<_> = parts.map(start).collect();
        let mut results = work(first)?;
        for (part, thread) in others {
            results.extend(thread.map_or_else(|_| work(part), joined)?);
        }
        Ok(results)
    })
}

/// What a thread comes to; its panic is the caller's.
pub fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
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
