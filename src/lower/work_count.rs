//! Counter of the work done by lowering, used by tests.

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Counts inspected list entries, jobs or families. Outside tests it does nothing.
#[inline]
pub(super) fn look_at(entries: usize) {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + entries));
    #[cfg(not(test))]
    let _ = entries;
}

/// The count on this thread since the last call.
#[cfg(test)]
pub(super) fn take() -> usize {
    COUNT.with(std::cell::Cell::take)
}
