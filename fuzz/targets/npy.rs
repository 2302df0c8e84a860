#![no_main]

use zilch_fuzz::bounded::Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zilch_fuzz::npy::run(bytes));
