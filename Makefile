# Each target sets up .venv when it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

# Tests start many Pythons, and each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo check test quick browser docs style types bench security mutants fuzz

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)
	$(BIN)/hf-breakhis train recipes/demo.yaml

# For two cores. Each process imports all libraries, so a third one made the suite slower.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Everything that must pass before a commit lands; continuous integration runs it.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy hf_breakhis scripts
	$(MAKE) test

# The tests that take no more than a moment, for the inner loop.
quick: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow" --quiet

# The page and the app in Chromium, as a visitor uses them. Needs Debian's chromium, and npm for the runtime.
browser: $(READY)
	$(BIN)/pip install --quiet --editable '.[dev,browser]'
	npm pack --silent --pack-destination .venv onnxruntime-web@1.30.0
	tar -C .venv -xzf .venv/onnxruntime-web-1.30.0.tgz
	ONNXRUNTIME_WEB=$(CURDIR)/.venv/package/dist $(BIN)/python -m pytest tests/hub/test_page.py tests/hub/test_space.py

# The documentation site, in outputs/site. A dead link or an undocumented name is an error.
docs: $(READY)
	$(BIN)/python scripts/site.py outputs/site-source
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

style: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY)
	$(BIN)/mypy hf_breakhis scripts

# Each prints a table and leaves JSON; the last one writes benchmarks/README.md. Hours, on a machine that does nothing else.
bench: $(READY)
	for name in data_path scale_data near_copies train predict crossval start scale long coverage coverage_training zones ranking pooled_auc controls tuned real resemblance gpu; do $(BIN)/python benchmarks/$$name.py --json benchmarks/$$name.json || exit 1; done
	$(BIN)/python benchmarks/tables.py

# Known vulnerabilities of the installed packages. Needs a network.
security: $(READY)
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable --progress-spinner off

# Changes the code of splits, statistics, audit and metrics in a thousand small ways; a test has to notice each.
mutants: $(READY)
	$(BIN)/pip install --quiet mutmut
	$(BIN)/mutmut run
	$(BIN)/mutmut results

# Input that ends in anything but a result or one line, a minute a reader, guided by the code that it reaches.
fuzz: $(READY)
	$(BIN)/pip install --quiet atheris
	for target in file_name tar zip picture predictions recipe model; do $(BIN)/python scripts/fuzz.py $$target 60 || exit 1; done
