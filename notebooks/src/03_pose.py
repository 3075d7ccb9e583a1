# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # Pose: the skeleton of everybody in the picture
#
# Every person in the clips of a folder gets a skeleton and a number that lasts; the joints go into tables, with speeds and angles.
#
# ![A woman walks by with her skeleton drawn: left limbs light blue, right limbs dark orange](docs/notebooks/pose.jpg)
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
#@markdown What finds the joints. Left at automatic it is movenet, which comes with framelane; rtmpose and rtmo need weights that
#@markdown you fetched before, yolo a file that you exported.
MODEL = "automatic"  #@param ["automatic", "movenet", "yolo", "rtmpose", "rtmo"]
#@markdown The joints drawn and written: 17 as in COCO, or 18 with a neck as in OpenPose.
LAYOUT = "coco17"  #@param ["coco17", "openpose18"]
#@markdown loess looks at frames before and after and does not lag; one_euro looks at the past only.
SMOOTHING = "loess"  #@param ["loess", "one_euro", "none"]
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("pose", input=INPUT, output=OUTPUT, mode=MODE, profile=PROFILE, widgets=WIDGETS,
             settings={"pose.model": MODEL, "pose.layout": LAYOUT, "pose.smoothing": SMOOTHING})

# %%
#@title 3. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %% [markdown]
# ## What comes out
#
# - **The clip** with the skeletons: left limbs light, right limbs dark. What is dashed and lighter was not seen for a moment, and
#   was bridged.
# - **Tables** beside each result: `NAME.coco.json` with COCO keypoint results, `NAME.joints.csv` with every joint in every frame.
# - **The report**: for each person the share of the clip, the speed of the hips, and the angles of knees, elbows and hips, as they
#   lie in the picture.

# %% help
