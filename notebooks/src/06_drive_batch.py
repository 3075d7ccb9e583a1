# ---
# jupyter:
#   framelane:
#     parts: notebook,faceswap
# ---

# %% [markdown]
# # A folder in Drive, today and tomorrow
#
# All clips of a Drive folder are worked through for as long as the session lasts; the same cells go on where they were the next
# time.
#
# ![The page of a batch: a row for each clip, with pictures and how it went](docs/notebooks/batch.jpg)
#
# Press “Run all” (Ctrl+F9). Colab asks once for access to your Drive; on another host, or without Drive, folders of the session
# serve.

# %% first cell

# %%
#@title 2. Drive { display-mode: "form" }
#@markdown Mount Google Drive (Colab only), so that results outlive the session.
USE_DRIVE = True  #@param {type:"boolean"}
from framelane import notebook

notebook.setup(drive=USE_DRIVE)

# %%
#@title 3. Run { display-mode: "form" }
PROCESSOR = "attention"  #@param ["attention", "faceswap"]
#@markdown A folder of clips, as in /content/drive/MyDrive/clips; demo is the clip that comes with framelane. An empty output is
#@markdown a folder of its own: in Drive where the clips are there, else in this session.
INPUT = "demo"  #@param {type:"string"}
OUTPUT = ""  #@param {type:"string"}
MODE = "fast"  #@param ["fast", "balanced", "quality"]
#@markdown How long this session may take from its start, as in 80m or 1h30m; none is without end. What does not fit is left for
#@markdown next time.
BUDGET = "80m"  #@param {type:"string"}
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run(PROCESSOR, input=INPUT, output=OUTPUT, mode=MODE, budget=BUDGET, widgets=WIDGETS)

# %%
#@title 4. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %%
#@title 5. Write everything to Drive { display-mode: "form" }
#@markdown At the very end: waits until Drive has everything, and lets it go. Afterwards Drive cannot be mounted again in this
#@markdown session.
FLUSH = False  #@param {type:"boolean"}
from framelane import notebook

notebook.finish(flush=FLUSH)

# %% [markdown]
# ## Tomorrow
#
# Open this notebook again and run all cells with the same folders: finished clips stay as they are, the one in the middle goes on
# from its last segment of about ten seconds, and what has failed is tried again when you ask for it.

# %% help
