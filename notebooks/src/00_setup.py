# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # framelane: set up, and a first result
#
# Videos in, finished results out: this notebook installs framelane, looks at the machine, and shows a first result on a clip
# that comes with it.
#
# ![A street: attention as a blue shadow, each person and vehicle in a colour](docs/notebooks/attention.jpg)
#
# Press “Run all” (Ctrl+F9) and leave everything as it is. A GPU makes it faster; without one it works too.

# %% first cell

# %%
#@title 2. What this machine can do { display-mode: "form" }
from framelane import notebook

notebook.setup()

# %%
#@title 3. A first result { display-mode: "form" }
#@markdown The mode (fast, balanced or quality) and the folder of clips; demo is the clip that comes with framelane.
MODE = "fast"  #@param ["fast", "balanced", "quality"]
INPUT = "demo"  #@param {type:"string"}
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("attention", input=INPUT, mode=MODE, widgets=WIDGETS)

# %%
#@title 4. The results again { display-mode: "form" }
from framelane import notebook

notebook.results()

# %% [markdown]
# ## And now
#
# - `01_attention` shows where a vision transformer looks, in your own clips.
# - `02_face_swap` puts the face of somebody who agreed on the faces of a clip.
# - `03_pose` draws everybody's skeleton and writes the joints into tables.
# - `04_depth` says how far away things are, and what comes too close.
# - `05_follow` lets a virtual camera follow a person, a ball or the action.
# - `06_drive_batch` works through a folder of your Drive, today and tomorrow.
# - `07_benchmark` measures this machine.

# %% help
