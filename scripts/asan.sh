#!/bin/sh
# Tests the CPU engine under AddressSanitizer: reads and writes out of bounds, use after free, memory that nobody frees. It needs Linux on
# x86-64 and a nightly Rust, which alone takes -Zsanitizer; its std library needs no rebuild. `sh scripts/asan.sh --no-run` only builds.
set -eu
cd "$(dirname "$0")/.."

case "${1-}" in
    '' | --no-run) ;;
    *)
        echo 'usage: sh scripts/asan.sh [--no-run]' >&2
        exit 2
        ;;
esac
cargo=${CARGO:-cargo}
if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo 'asan.sh: this runs on Linux on x86-64 only' >&2
    exit 1
fi
if ! "$cargo" +nightly --version >/dev/null 2>&1; then
    echo 'asan.sh: AddressSanitizer needs a nightly Rust: rustup toolchain install nightly' >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

# Tests that hold the CPU to a GPU run on the software one alone: a driver that is loaded and unloaded again leaves allocations that
# have no name any more.
for icd in /usr/share/vulkan/icd.d/lvp_icd*.json; do
    if [ -e "$icd" ]; then export VK_DRIVER_FILES="$icd" VK_ICD_FILENAMES="$icd"; fi
done
# Vulkan's loader keeps some of its tables until the process ends. Nothing of zilch is suppressed.
echo 'leak:libvulkan' >"$scratch/suppressions"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export LSAN_OPTIONS="suppressions=$scratch/suppressions:print_suppressions=0"
# With a target that is named, flags do not reach build scripts and procedural macros. Every crate is compiled anew, in a folder of its own.
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Cforce-frame-pointers=yes"
build="--package zilch --release --locked --target x86_64-unknown-linux-gnu --target-dir ${CARGO_TARGET_DIR:-target}/asan"
tests='exactness:: convolution:: graphs:: family:: twins::'

if [ "${1-}" = --no-run ]; then
    # shellcheck disable=SC2086 # words of their own
    "$cargo" +nightly test $build --lib --test numerics --no-run
    exit
fi
# shellcheck disable=SC2086
"$cargo" +nightly test $build --lib -- device::cpu
# Left out: tests of shaders alone. Tests that start the program are in another binary: it unloads the driver before it ends.
# shellcheck disable=SC2086
"$cargo" +nightly test $build --test numerics -- $tests --skip gpu --skip trusted_shaders
