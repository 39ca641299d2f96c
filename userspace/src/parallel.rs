//! Work on many things: the same on several processors, or ahead of when it is asked for.

use std::{
    panic::resume_unwind,
    thread::{self, JoinHandle, ScopedJoinHandle},
};

use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};

/// For fewer, a thread takes longer to start than its work.
const WORTH_A_THREAD: usize = 64;

/// Begins what will be asked for later, if it is about so many things that it is worth a thread, and there is one to be had.
pub fn ahead<T: Send + 'static>(things: usize, work: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    (things >= WORTH_A_THREAD).then(|| thread::Builder::new().spawn(work).ok()).flatten()
}

/// What the work makes of each of them, in their order.
///
/// # Errors
/// The first, in their order.
pub fn all<T: Sync, R: Send, E: Send>(items: &[T], work: impl Fn(&T) -> Result<R, E> + Sync) -> Result<Vec<R>, E> {
    let threads = (items.len() / WORTH_A_THREAD).clamp(1, processors());
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

/// Processors that this process may use. [`thread::available_parallelism`] looks for quotas, too: in the list of all mounts,
/// which has a line for each container.
fn processors() -> usize {
    let Ok(allowed) = sched_getaffinity(Pid::from_raw(0)) else { return 1 };
    (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true)).count().max(1)
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
    fn there_is_a_processor_and_no_more_than_the_machine_has() {
        let count = std::fs::read_dir("/sys/devices/system/cpu").expect("Linux says which it has").flatten();
        let count = count.filter(|entry| {
            let name = entry.file_name();
            name.to_str().and_then(|name| name.strip_prefix("cpu")).is_some_and(|rest| rest.parse::<u32>().is_ok())
        });
        assert!((1..=count.count()).contains(&processors()));
    }

    #[test]
    fn what_is_about_few_things_is_not_begun_ahead() {
        assert!(ahead(WORTH_A_THREAD - 1, || 1).is_none());
        assert_eq!(ahead(WORTH_A_THREAD, || 1).map(|thread| thread.join().expect("it ends")), Some(1));
    }

    #[test]
    fn of_several_errors_the_first_is_told() {
        let items: Vec<usize> = (0..WORTH_A_THREAD * 4).collect();
        assert_eq!(all(&items, |item| if item % 100 == 99 { Err(*item) } else { Ok(()) }), Err(99));
    }
}
