# What a person or a CI types. Options for zilch or the benches go in ARGS:
#     make compare ARGS="--layers 784,256,10 --batch 64"
CARGO ?= cargo
ARGS ?=
# Every package of the workspace: named together, they have the same features, and crates are compiled once.
ALL = --package zilch --package zilch-cli --package zilch-lab --package zilch-python

.DEFAULT_GOAL := help
.PHONY: help compare test lint bench clean check-tools check-lint-tools vulkan

help:
	@echo 'make compare   measure every learning rule on the CPU and the GPU (options in ARGS)'
	@echo 'make test      run every test; a machine without a GPU gets a software one'
	@echo 'make test-wgsl hand every shader to Chromium and spirv-val (on Debian it installs them, as root)'
	@echo 'make lint      check the format, the lints, the documentation and the scripts'
	@echo 'make fuzz      feed the parsers what no one would write (options in ARGS: --seconds N, --runs N, targets)'
	@echo 'make asan      test the CPU engine under AddressSanitizer (needs a nightly Rust)'
	@echo 'make deny      check the licences, sources and advisories of all crates (needs cargo-deny)'
	@echo 'make bench     run the benchmarks (options in ARGS)'
	@echo 'make peers     time zilch beside its Python peers (options in ARGS; the first run installs 7 GB)'
	@echo 'make docs      build the documentation into target/site, which works offline'
	@echo 'make wheel     build the Python wheel into target/wheels'
	@echo 'make test-python  install the wheel into an empty environment and run its tests'
	@echo 'make package   check what is published: the crates, the wheel, the workflow files'
	@echo 'make gpu       test and measure everything on a real GPU, beside its Python peers'
	@echo 'make clean     remove what was built'

compare: check-tools vulkan
	$(CARGO) build --release --locked
	$(CARGO) run --quiet --release --locked -- compare $(ARGS)

# Kernels of tests are small: lavapipe runs them on the thread that submits them, which takes half the time of waking its own threads.
test: check-tools vulkan
	LP_NUM_THREADS=0 $(CARGO) test $(ALL) --release --locked $(ARGS)

# Compilers other than naga: scripts/wgsl.py.
.PHONY: test-wgsl
test-wgsl: check-tools
	CARGO_TEST='$(CARGO) test $(ALL) --release --locked' sh scripts/wgsl.sh

lint: check-tools check-lint-tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(ALL) --all-targets --release --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc $(ALL) --no-deps --release --locked
	$(CARGO) fmt --check --manifest-path benches/products/Cargo.toml
	$(CARGO) clippy --release --locked --manifest-path benches/products/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target) -- -D warnings
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) metadata --format-version 1 --locked --manifest-path fuzz/Cargo.toml >/dev/null
	@if command -v shellcheck >/dev/null 2>&1; then shellcheck scripts/*.sh benches/*.sh .ci/run; fi
	@if command -v cargo-deny >/dev/null 2>&1; then CARGO='$(CARGO)' sh scripts/deny.sh; fi

bench: check-tools vulkan
	$(CARGO) bench --locked $(ARGS)

clean: check-tools
	$(CARGO) clean

# A Vulkan driver, installed where there is none.
vulkan:
	@sh scripts/vulkan.sh

check-tools:
	@command -v $(CARGO) >/dev/null 2>&1 || { \
	    echo 'make: there is no cargo here: install Rust as https://rustup.rs says, then open a new shell' >&2; exit 1; }
	@command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 \
	    || [ "$$OS" = Windows_NT ] || { \
	    echo 'make: there is no C linker (cc), which cargo needs: install build-essential (Debian, Ubuntu),' \
	        'gcc (Fedora), base-devel (Arch) or the Xcode command line tools (macOS)' >&2; exit 1; }

# rustfmt and clippy come with rustup's default profile, but not with its minimal one.
check-lint-tools:
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 \
	    || rustup component add rustfmt clippy \
	    || { echo 'make: lint needs rustfmt and clippy: rustup component add rustfmt clippy' >&2; exit 1; }

# What has to be measured on a real GPU, in one call: benches/gpu.sh says what it needs and where the figures go.
.PHONY: gpu
gpu:
	sh benches/gpu.sh

# The parsers under libFuzzer: fuzz/README.md.
.PHONY: fuzz
fuzz: check-tools
	CARGO='$(CARGO)' sh scripts/fuzz.sh $(ARGS)

# The CPU engine under AddressSanitizer: scripts/asan.sh.
.PHONY: asan
asan: check-tools vulkan
	CARGO='$(CARGO)' sh scripts/asan.sh $(ARGS)

# What deny.toml says of the crates that this is made of.
.PHONY: deny
deny: check-tools
	@command -v cargo-deny >/dev/null 2>&1 || { \
	    echo 'make: deny needs cargo-deny: cargo install --locked cargo-deny' >&2; exit 1; }
	@CARGO='$(CARGO)' sh scripts/deny.sh

# The Python peers beside zilch: benches/peers/README.md. The first run installs them (7 GB).
.PHONY: peers
peers: check-tools
	python3 benches/peers/compare.py $(ARGS)

# The Python package: a wheel for this platform, and its tests in an empty environment. Both need python3 (3.10 or later) alone.
PYTHON ?= python3
PYTHON_TARGET = $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target/python)
PYTHON_BIN = $(if $(filter Windows_NT,$(OS)),Scripts,bin)
# A wheel does not contain the paths of the folders that it was built in. With these flags as RUSTFLAGS, zilch and the wheel share the
# same crates.
CARGO_FOLDER = $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)
WHEEL_FLAGS = --remap-path-prefix=$(CARGO_FOLDER)/registry/src=crates --remap-path-prefix=$(CURDIR)=zilch
.PHONY: wheel wheel-flags test-python notebooks
wheel-flags:
	@echo '$(WHEEL_FLAGS)'

check-python:
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	    echo 'make: Python 3.10 or later with venv is needed (PYTHON=$(PYTHON)): install python3-venv (Debian, Ubuntu)' >&2; exit 1; }

wheel: check-tools check-python
	@test -x target/venv-build/$(PYTHON_BIN)/maturin || { $(PYTHON) -m venv target/venv-build \
	    && target/venv-build/$(PYTHON_BIN)/python -m pip install --quiet 'maturin>=1.9.3,<2'; }
	rm -f target/wheels/zilch_pc-*.whl
	CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS='$(if $(RUSTFLAGS),$(RUSTFLAGS),$(WHEEL_FLAGS))' target/venv-build/$(PYTHON_BIN)/maturin build \
	    --release --locked --manifest-path python/Cargo.toml --target-dir $(PYTHON_TARGET) --out target/wheels

test-python: wheel
	rm -rf target/venv-test
	$(PYTHON) -m venv target/venv-test
	target/venv-test/$(PYTHON_BIN)/python -m pip install --quiet target/wheels/zilch_pc-*.whl
	cd target && venv-test/$(PYTHON_BIN)/python -c 'import zilch_pc, sys; print("zilch_pc", zilch_pc.Network([4, 3, 2]).device); assert "sklearn" not in sys.modules'
	target/venv-test/$(PYTHON_BIN)/python -m pip check
	target/venv-test/$(PYTHON_BIN)/python -m pip install --quiet "$$(echo target/wheels/zilch_pc-*.whl)[test]"
	target/venv-test/$(PYTHON_BIN)/python -m pytest --quiet -rs -n auto python/tests $(ARGS)

# What is published: each crate is compiled from its package alone; the wheel's metadata and the workflow files are checked.
.PHONY: package
package: wheel
	$(CARGO) package --workspace --exclude zilch-python --locked
	@test -x target/venv-package/$(PYTHON_BIN)/zizmor || { $(PYTHON) -m venv target/venv-package \
	    && target/venv-package/$(PYTHON_BIN)/python -m pip install --quiet twine check-jsonschema zizmor; }
	target/venv-package/$(PYTHON_BIN)/twine check --strict target/wheels/zilch_pc-*.whl
	target/venv-package/$(PYTHON_BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	target/venv-package/$(PYTHON_BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	target/venv-package/$(PYTHON_BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	target/venv-package/$(PYTHON_BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	target/venv-package/$(PYTHON_BIN)/zizmor --offline --quiet .github

# The notebooks anew, with what they show: python/notebooks/build.py.
notebooks: wheel
	test -x target/venv-notebooks/$(PYTHON_BIN)/python || $(PYTHON) -m venv target/venv-notebooks
	target/venv-notebooks/$(PYTHON_BIN)/python -m pip install --quiet --force-reinstall --no-deps target/wheels/zilch_pc-*.whl
	target/venv-notebooks/$(PYTHON_BIN)/python -m pip install --quiet numpy nbformat nbclient ipykernel matplotlib scikit-learn pandas tqdm tensorboardX
	target/venv-notebooks/$(PYTHON_BIN)/python python/notebooks/build.py $(ARGS)

# The documentation: mkdocs.yml. Only pip needs the network. Zensical from 0.1 on is untested here.
.PHONY: docs
docs: check-tools check-python
	@test -x target/venv-docs/$(PYTHON_BIN)/zensical || { $(PYTHON) -m venv target/venv-docs \
	    && target/venv-docs/$(PYTHON_BIN)/python -m pip install --quiet 'zensical>=0.0.73,<0.1' 'mkdocstrings-python>=2,<3'; }
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --package zilch --no-deps --release --locked
	$(PYTHON) scripts/docs.py gather $(or $(CARGO_TARGET_DIR),target)/doc
	target/venv-docs/$(PYTHON_BIN)/zensical build --clean --strict
	$(PYTHON) scripts/docs.py check
