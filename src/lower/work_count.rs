//! What lowering looks at, counted where tests ask for it.

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many entries of a list, or jobs, or names, are looked at. Costs nothing outside tests.
#[inline]
pub(super) fn look_at(entries: usize) {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + entries));
    #[cfg(not(test))]
    let _ = entries;
}

/// What was counted on this thread since the last call.
#[cfg(test)]
pub(super) fn take() -> usize {
    COUNT.with(std::cell::Cell::take)
}
