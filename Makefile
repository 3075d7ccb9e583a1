# `make demo` shows a real result; `make test` proves the project. Both are safe to run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out
CLIPS := assets/clips/street.mp4 assets/clips/walker.mp4

.PHONY: demo install test lint format messages notebooks notebook-env notebook-test browser-env browser-test prove gpu-test bench clean

$(VENV)/.base: requirements-cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "framelane needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-cpu.txt "setuptools>=77"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.models: $(VENV)/.base configs/models.yaml
	$(BIN)/framelane models fetch
	touch $@

$(VENV)/.dev: $(VENV)/.base requirements-dev.txt requirements-parity.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-parity.txt
	touch $@

demo: $(VENV)/.models
	@mkdir -p $(OUT)
	@for clip in $(CLIPS); do \
	  $(BIN)/framelane run attention $$clip -o $(OUT)/$$(basename $$clip .mp4)-attention.mp4 --restart || exit 1; echo; \
	done
	@echo "The results lie in $(OUT)/: an MP4, a GIF and a report for each clip."

# Into the Python that PYTHON names (activate an environment first); see "Install on Colab" in the README.
install:
	$(PYTHON) colab_setup/install.py $(OPTIONS)

# Two processes, one thread each: two threads of torch stall beside another busy process.
test: lint $(VENV)/.models notebook-env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n 2 --dist loadfile --no-loadscope-reorder --durations=10

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What people read, found in the sources: brings the catalogues up to date, builds them, and says what has no translation.
messages: $(VENV)/.dev
	cd tests && ../$(BIN)/python -m support.messages

# The notebooks, out of notebooks/src and the catalogues.
notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/build.py

# The kernel that Colab has. It sees the packages of $(VENV), but not its framelane: a test installs the wheel.
notebook-env: .venv-colab/.ready

.venv-colab/.ready: requirements-notebook.txt | $(VENV)/.dev
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

notebook-test: notebook-env $(VENV)/.models
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/notebook/test_notebooks.py tests/notebook/test_bootstrap.py

# JupyterLab 3 with the kernel that Colab has, and JupyterLab 4. They see the packages of $(VENV), their own come first.
browser-env: .venv-lab3/.ready .venv-lab4/.ready

.venv-lab3/.ready: requirements-browser-pinned.txt
.venv-lab4/.ready: requirements-browser.txt
.venv-lab3/.ready .venv-lab4/.ready: | $(VENV)/.dev
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
	  > $$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/zzz_framelane.pth
	touch $@

browser-test: browser-env $(VENV)/.models
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/browser

prove: $(VENV)/.dev $(VENV)/.models
	$(BIN)/python -m pytest -m slow

gpu-test: $(VENV)/.dev $(VENV)/.models
	$(BIN)/python -m pytest -m gpu

bench: $(VENV)/.dev $(VENV)/.models
	$(BIN)/framelane bench attention
	$(BIN)/framelane bench attention --faithfulness
	$(BIN)/framelane bench motion
	$(BIN)/framelane bench tracking
	$(BIN)/framelane bench engine
	$(BIN)/framelane bench faceswap --quick
	$(BIN)/framelane bench video --quick

clean:
	rm -rf $(OUT) .venv-lab3 .venv-lab4 build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
