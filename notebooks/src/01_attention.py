# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # Attention: where a vision transformer looks
#
# Every clip of a folder gets a blue shadow where a vision transformer looks, and each tracked object a colour with its share.
#
# ![A street: attention as a blue shadow, each person and vehicle in a colour](docs/notebooks/attention.jpg)
#
# Press “Run all” (Ctrl+F9): after 20 seconds it starts with what the picker shows; touch anything there, and it waits for you.

# %% first cell

# %%
#@title 2. Run { display-mode: "form" }
#@markdown A folder of clips; demo is the clip that comes with framelane. An empty output is a folder of its own: in Drive where
#@markdown the clips are there, else in this session.
INPUT = "demo"  #@param {type:"string"}
OUTPUT = ""  #@param {type:"string"}
MODE = "fast"  #@param ["fast", "balanced", "quality"]
#@markdown The profile: auto takes what fits this machine.
PROFILE = "auto"  #@param ["auto", "t4", "memory_saver", "optimized", "balanced", "high_quality", "ultra_quality", "legacy", "cpu"]
#@markdown How the maps are made. Left at automatic, the mode decides.
METHOD = "automatic"  #@param ["automatic", "gmar", "rollout", "last_layer", "chefer", "gradcam"]
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("attention", input=INPUT, output=OUTPUT, mode=MODE, profile=PROFILE, widgets=WIDGETS,
             settings={"attention.method": METHOD})

# %%
#@title 3. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %% [markdown]
# ## What the picture means
#
# - **Blue shadow**: where the vision transformer looks in each frame, stronger where attention is stronger.
# - **Colours**: tracked objects, one colour for each family. The number in a label is the share of attention inside its box, in
#   percent.
# - **The report** beside each result has the figures: shares over time, flicker, cuts, and which models ran.

# %% help
