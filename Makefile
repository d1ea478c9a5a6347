# `make app` starts the explorer, `make test` runs every check. Both make .venv on first use; PYTHON=... picks another.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test clean

app: $(VENV)/.app-stamp
	$(BIN)/streamlit run streamlit_app.py

test: $(VENV)/.test-stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: Python 3.11 or newer is needed, '$(PYTHON)' is `$(PYTHON) --version 2>&1 | head -n 1`; try: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "error: '$(PYTHON)' lacks its venv module; on Debian and Ubuntu: apt install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app-stamp: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.test-stamp: requirements-dev.txt $(VENV)/.app-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
