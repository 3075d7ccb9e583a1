# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # Follow: a virtual camera
#
# Every clip of a folder is cut to another shape, upright for instance, by a calm camera that keeps a person, a ball or the action
# in the picture.
#
# ![Two frames of a clip: the window that the camera chose, and what it cut out](docs/notebooks/follow.jpg)
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
#@markdown Whom the camera follows: a person, a ball, or action, the players' middle.
SUBJECT = "person"  #@param ["person", "ball", "action"]
#@markdown The shape of the result. Its size, as in 1080x1920 or 720p; empty is as large as the clip allows.
ASPECT = "9:16"  #@param ["16:9", "9:16", "1:1", "4:5"]
SIZE = ""  #@param {type:"string"}
#@markdown Draw the window on the whole frame instead of cutting it out.
SHOW = False  #@param {type:"boolean"}
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("follow", input=INPUT, output=OUTPUT, mode=MODE, profile=PROFILE, widgets=WIDGETS,
             settings={"follow.subject": SUBJECT, "follow.aspect": ASPECT, "follow.size": SIZE, "follow.show": SHOW})

# %%
#@title 3. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %% [markdown]
# ## What comes out
#
# - **The clip** in its new shape, with its timestamps and its sound. The camera stands still or moves evenly, and jumps at cuts only.
# - **The path** beside each result: `NAME.camera.csv` with the window, the subject and how sure it is, for every frame.
# - **The report**: how long the subject was in the picture, and the longest loss. With nobody in the clip the window stands still
#   in the middle.

# %% help
