# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
#
# Everything here works in a fresh clone on a fresh Debian (12 or later): what is missing is
# installed first, system packages with apt-get (by sudo when not root), the rest in .venv.
#
#   make test ARGS='-k watch'      any arguments for pytest; JOBS=0: one after the other
#   make run MOUNTPOINT=/mnt/xs    to mount elsewhere

PYTHON ?= python3
ARGS ?=
# Tests that run at a time; they wait more than they compute.
JOBS ?= 4
MOUNTPOINT ?= $(if $(filter 0,$(shell id -u)),/mnt/xenstore,$(HOME)/xenstore)
BIN := .venv/bin

# Where `make install` puts things, below DESTDIR. mount(8) looks for xsfs in /usr/local/bin and
# /usr/bin, among others, and for mount.xsfs in /sbin alone; another PREFIX is for trials.
PREFIX ?= /usr/local
MOUNT_HELPERS ?= $(if $(filter /usr /usr/local,$(PREFIX)),/usr/sbin,$(PREFIX)/sbin)
DESTDIR ?=
FILES := share/man/man5/xsfs.5 share/man/man8/xsfs.8 \
	share/bash-completion/completions/xsfs share/zsh/site-functions/_xsfs \
	share/fish/vendor_completions.d/xsfs.fish \
	$(addprefix lib/systemd/system/,$(notdir $(wildcard systemd/*)))

# Debian's packages to run xsfs (fuse3 brings fusermount3) and to build pyfuse3; to build a package
# of it; to be shown around by tools/tour; and what the tests run beside.
TO_INSTALL := fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-dev python3-venv
TO_BUILD := build-essential debhelper libfuse3-dev pkg-config python3-dev python3-pip \
	python3-setuptools python3-wheel
TO_SHOW := inotify-tools tree
TO_TEST := $(TO_SHOW) jq man-db mandoc systemd openssh-client attr rsync entr vim incron zsh fish \
	ed fd-find gawk mc ncdu node-chokidar nodejs patch ranger rclone reflex ripgrep

# Installs those of $(1) that are missing.
define debian
	@command -v apt-get >/dev/null || { \
		echo 'no apt-get here: taking it that these are installed: $(1)'; exit 0; }; \
	missing=; \
	for package in $(1); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' \
			|| missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" != 0 ]; then \
			command -v sudo >/dev/null || { \
				echo "neither root nor sudo: install$$missing" >&2; exit 1; }; \
			sudo=sudo; \
		fi; \
		$$sudo apt-get update -q; \
		$$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -q -y --no-install-recommends $$missing; \
	fi
endef

.PHONY: help run debian-install debian-show debian-test venv xen install uninstall dist deb test-deb docs \
	lint test bench soak fuzz clean

help:
	@echo 'make run    install what is missing, mount the XenStore at $(MOUNTPOINT), show it'
	@echo 'make test   install what is missing, run the tests'
	@echo 'make install, make uninstall   for all users, below PREFIX ($(PREFIX))'
	@echo "make deb    Debian's package, below dist; make test-deb: tried in clean systems"
	@echo 'make docs   the documentation of the Python package, below build/docs'
	@echo 'make lint   style and types'
	@echo 'make venv   a Python environment with xsfs in .venv'
	@echo 'make xen    the real daemons for tests and trials, below build/xen'
	@echo 'make bench  figures; make soak: long runs; make fuzz: random input to all parsers'
	@echo 'make clean  remove .venv and build'

run: venv debian-show
	@tools/run '$(MOUNTPOINT)'

debian-install:
	$(call debian,$(TO_INSTALL))

debian-show: | debian-install
	$(call debian,$(TO_SHOW))

debian-test: | debian-install
	$(call debian,$(TO_TEST))

venv: $(BIN)/.complete

$(BIN)/.complete: pyproject.toml | debian-install
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("xsfs needs Python 3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

xen: venv
	$(BIN)/python -m tests.xen.packages

# The command has a Python environment of its own below PREFIX, beside it what must lie where
# other programs look for it. Who packages it (DESTDIR) has what that takes.
install: $(if $(DESTDIR),,debian-install)
	$(PYTHON) -m venv --clear '$(DESTDIR)$(PREFIX)/lib/xsfs'
	'$(DESTDIR)$(PREFIX)/lib/xsfs/bin/pip' install -q --disable-pip-version-check --no-compile .
	@# Nothing in it may name DESTDIR.
	@cd '$(DESTDIR)$(PREFIX)/lib/xsfs' && \
		sed -i '1s,^#!$(DESTDIR)/,#!/,' $$(grep -lI '^#!$(DESTDIR)/' bin/*) && \
		sed -i 's,$(DESTDIR)/,/,g' pyvenv.cfg bin/activate* && \
		bin/python -m compileall -q -f -s '$(DESTDIR)' lib
	@for file in $(FILES); do \
		install -D -m 644 '$(DESTDIR)$(PREFIX)'/lib/xsfs/$$file '$(DESTDIR)$(PREFIX)'/$$file \
			|| exit 1; \
	done
	@mkdir -p '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(MOUNT_HELPERS)'
	@ln -sf ../lib/xsfs/bin/xsfs '$(DESTDIR)$(PREFIX)/bin/xsfs'
	@ln -sf '$(PREFIX)/lib/xsfs/bin/mount.xsfs' '$(DESTDIR)$(MOUNT_HELPERS)/mount.xsfs'
	@echo 'Installed: $(PREFIX)/bin/xsfs; see xsfs(8). To start at boot: systemctl enable --now xsfs'

uninstall:
	rm -rf $(addprefix '$(DESTDIR)$(PREFIX)'/,lib/xsfs bin/xsfs $(FILES)) \
		'$(DESTDIR)$(MOUNT_HELPERS)/mount.xsfs'

# Source distribution and wheel, below dist, as a package index takes them.
dist: venv
	rm -rf dist
	$(BIN)/python -m build -q --no-isolation
	$(BIN)/twine check --strict dist/*

# Debian's package for the release that this runs on, below dist.
deb:
	$(call debian,$(TO_BUILD))
	tools/deb dist

# The package for Debian 12 and 13, built, installed, mounted, upgraded and purged in clean systems;
# as root, in some five minutes.
test-deb:
	$(call debian,mmdebstrap)
	tools/test-deb

# Warnings are errors.
docs: venv
	$(BIN)/python -m sphinx -qW --keep-going docs build/docs
	@echo 'See build/docs/index.html'

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Without Xen's daemons the tests that need them say so: they skip, or fail when CI is set.
test: venv debian-test
	-@$(BIN)/python -m tests.xen.packages
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

# Figures, each beside something known; on a machine with nothing else to do.
bench: venv xen
	$(BIN)/python -m tests.bench

# What goes on in pieces: each run adds to what the state files below build/soak have. One part:
#   .venv/bin/python -m tests.soak.coherence xenstored strict 540
soak: venv xen
	for daemon in xenstored oxenstored; do \
		for cache in strict watch off; do \
			$(BIN)/python -m tests.soak.coherence $$daemon $$cache 540 || exit 1; \
		done; \
		$(BIN)/python -m tests.soak.events $$daemon 100000 || exit 1; \
		$(BIN)/python -m tests.soak.load $$daemon 540 || exit 1; \
		$(BIN)/python -m tests.soak.nodes $$daemon 100000 || exit 1; \
		$(BIN)/python -m tests.soak.watches $$daemon 10000 || exit 1; \
		$(BIN)/python -m tests.soak.endurance $$daemon 540 || exit 1; \
	done
	for start in foreground background nohup closed-stdin; do \
		$(BIN)/python -m tests.soak.suite $$start || exit 1; \
	done
	$(BIN)/python -m tests.soak.suite foreground 4
	$(BIN)/python -m tests.soak

# Continues where the last run ended, below build/fuzz; SECONDS for each target.
SECONDS ?= 60
fuzz: venv
	$(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python -m tests.soak.fuzz --seconds $(SECONDS)

clean:
	rm -rf .venv build
