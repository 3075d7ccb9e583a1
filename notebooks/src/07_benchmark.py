# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # Benchmark: what this machine does
#
# Measures on this machine how fast clips are decoded, processed and encoded, against plain loops in the same run.
#
# ![Frames a second of framelane and of plain loops, as bars](docs/notebooks/benchmark.png)
#
# Press “Run all” (Ctrl+F9) and leave the machine alone meanwhile.

# %% first cell

# %%
#@title 2. What this machine can do { display-mode: "form" }
from framelane import notebook

notebook.setup()

# %%
#@title 3. Measure { display-mode: "form" }
from framelane import notebook

notebook.bench()

# %% [markdown]
# ## How to read it
#
# - The figures are ratios to a peer in the same run, so that a busy machine changes them little.
# - `framelane tune` measures for a minute which settings are fastest here, and keeps them for this machine.

# %% help
