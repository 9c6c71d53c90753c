# How to use this:
#
#   make demo               run a program in namespaces of its own and watch its life
#   make test               every test: Rust; Elixir, with sessions that share agents and with an agent for each;
#                           the example project; the wire protocol from C; then as an unprivileged user
#   make test-unprivileged  only the last of these; needs root
#   make conformance        the wire protocol from C, with our agent and the C agent (part of make test)
#   make faults             how long it takes until nothing is left, whatever fails, ROUNDS (1) times each;
#                           LINX_TEST_AGENT=dedicated for agents that serve one session, as for make soak
#   make stress             the races, many rounds, while the scheduling is shaken
#   make bench              how fast it is beside its peers and the floor; ROWS="true pty" for some rows, QUICK=1 for
#                           a minute's worth, LINX_BENCH_PEERS for where other peers are
#   make soak               100,000 sessions, and what is left of them; SESSIONS=2000 for a minute's worth
#   make sanitize           make conformance, and the Rust tests without system calls, under AddressSanitizer
#   make lint               formatting, clippy, and no warning anywhere
#   make fuzz               fuzz what the agent is told, each of three targets for FUZZ_SECONDS (600)
#   make miri               the Rust tests without system calls under Miri; needs a nightly Rust
#   make audit              licences, sources and withdrawn versions of the crates
#   make setup              install what is missing: Elixir and a C linker; Rust you bring
#   make clean              remove everything that was built
#
# Most of them begin with setup, which is quick and silent when nothing is missing, and add what only they need.

# The BEAM warns when its locale is not UTF-8.
export LANG := C.UTF-8

# Where rustup puts cargo, for a shell that has not heard of it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

FUZZ_SECONDS ?= 600
ROUNDS ?= 1

.PHONY: help demo test test-unprivileged conformance faults stress bench soak sanitize lint fuzz miri audit setup clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: setup
	mix run examples/demo.exs

test:
	@bin/setup test
	cargo test --workspace --locked
	mix test
	LINX_TEST_AGENT=dedicated mix test test/linx/*_test.exs $(addprefix test/linx/,cgroup command daemon process sandbox seccomp)
	cd examples/hello_linx && mix test
	$(MAKE) conformance
	@if [ "$$(id -u)" = 0 ]; then bin/test-unprivileged; fi

test-unprivileged:
	@bin/setup test
	bin/test-unprivileged

# AGENT=/path/to/agent has another agent talked to, C_AGENT_SOURCE=/path/to/linx_process.c the C agent found elsewhere.
conformance:
	@bin/setup test
	mix compile
	$(MAKE) -C c_compat run
	$(MAKE) -C c_compat vectors

faults:
	@bin/setup test
	LINX_FAULT_ROUNDS=$(ROUNDS) mix test test/linx/process/faults_test.exs test/linx/process/hostile_test.exs

stress: setup
	bin/stress

# bench/README.md says more about the variables.
bench:
	@bin/setup bench
	$(MAKE) -C bench run

soak: setup
	MIX_ENV=test mix run test/soak/soak.exs

# A stable Rust brings the sanitizer, and takes the flag when it is told to take those of nightly.
sanitize:
	@bin/setup test
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --locked --package linx_process --lib \
	  --target $$(rustc -vV | sed -n 's/^host: //p') --target-dir target/sanitized -- wire:: session::
	$(MAKE) -C c_compat sanitize

lint:
	@bin/setup rustfmt clippy
	cargo fmt --all --check
	cargo fmt --manifest-path native/linx_process/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	mix format --check-formatted
	mix compile --warnings-as-errors --force
	MIX_ENV=test mix compile --warnings-as-errors --force
	cd examples/hello_linx && mix compile --warnings-as-errors --force
	cd examples/hello_linx && MIX_ENV=test mix compile --warnings-as-errors --force

fuzz:
	@bin/setup c++
	@bin/fuzz $(FUZZ_SECONDS)

miri:
	@cargo +nightly miri --version >/dev/null 2>&1 || { \
	  echo "make miri: Miri is missing: rustup toolchain install nightly --component miri,rust-src" >&2; exit 1; }
	cargo +nightly miri test --locked --package linx_process --lib --target-dir target/miri -- wire:: session::

audit: setup
	@bin/audit

setup:
	@bin/setup

clean:
	rm -rf target _build examples/*/_build priv/linx_process priv/linx_nif.so
