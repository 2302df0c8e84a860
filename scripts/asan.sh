#!/bin/sh
# Tests the CPU engine under AddressSanitizer: reads and writes out of bounds, use after free, memory that nobody frees. It needs Linux on
# x86-64 and a nightly Rust, which alone takes -Zsanitizer; its std library needs no rebuild. What is typed after the script's name goes to
# cargo, as in `sh scripts/asan.sh --no-run` or `sh scripts/asan.sh -- --skip gpu`.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo 'asan.sh: this runs on Linux on x86-64 only' >&2
    exit 1
fi
if ! "$cargo" +nightly --version >/dev/null 2>&1; then
    echo 'asan.sh: AddressSanitizer needs a nightly Rust: rustup toolchain install nightly' >&2
    exit 1
fi

# A target folder of its own: every crate is compiled anew. With a target that is named, RUSTFLAGS do not reach build scripts and
# procedural macros.
folder=${CARGO_TARGET_DIR:-target}/asan
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
# A Vulkan driver and its loader keep what they allocated once until the process ends, and that is not ours to free. Nothing of zilch is
# suppressed.
printf 'leak:%s\n' libvulkan libLLVM libgallium libdrm >"$scratch/suppressions"
RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Cforce-frame-pointers=yes" \
    ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 \
    LSAN_OPTIONS="suppressions=$scratch/suppressions:print_suppressions=0" \
    "$cargo" +nightly test --package zilch --release --locked --target x86_64-unknown-linux-gnu --target-dir "$folder" \
    --lib --test exactness --test convolution --test graphs --test family --test twins "$@"
