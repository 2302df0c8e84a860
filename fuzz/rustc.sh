#!/bin/sh
# Calls rustc for cargo (RUSTC_WRAPPER), with what the fuzzer needs to see: which edges ran, and what was compared. Only the crates that
# are fuzzed get it, so that all others are those of an ordinary build. It is what cargo-fuzz sets, less the sanitizer, which needs a
# nightly Rust.
set -eu

fuzzed() {
    for word in "$@"; do
        if [ "${previous-}" = --crate-name ]; then
            case "$word" in
                zilch | zilch_fuzz | fuzz_* | safetensors) return 0 ;;
                *) return 1 ;;
            esac
        fi
        previous=$word
    done
    return 1
}

if fuzzed "$@"; then
    set -- "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
fi
exec "$@"
