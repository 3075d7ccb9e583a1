# ---
# jupyter:
#   framelane:
#     parts: notebook
# ---

# %% [markdown]
# # Depth: how far away things are, and what comes too close
#
# Every tracked object in the clips of a folder gets a distance, a time to collision and a zone; what comes too close alerts.
#
# ![A rendered scene: boxes with their distance and zone, a radar, and coloured depth beside them](docs/notebooks/depth.jpg)
#
# This is no safety device. Distances in metres need a depth model; without it the run goes on, the zones come from the boxes'
# size and growth, and every distance is said to be unknown.
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
#@markdown The depth model: for streets (outdoor) or rooms (indoor), 99 MB, downloaded once; small knows near and far but no
#@markdown metres. Left at automatic it is outdoor, and without a GPU it is not downloaded. none goes by the boxes alone.
MODEL = "automatic"  #@param ["automatic", "depth_anything_v2_metric_outdoor", "depth_anything_v2_metric_indoor", "depth_anything_v2_small", "none"]
#@markdown Metres at and below which an object is in the danger zone and in the warning zone.
DANGER_M = 2.0  #@param {type:"number"}
WARNING_M = 5.0  #@param {type:"number"}
#@markdown Coloured depth over the picture, beside it, or not at all.
VIEW = "blend"  #@param ["blend", "side_by_side", "plain"]
#@markdown A short tone in the result's sound at each alert.
TONES = False  #@param {type:"boolean"}
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("depth", input=INPUT, output=OUTPUT, mode=MODE, profile=PROFILE, widgets=WIDGETS,
             settings={"depth.model": MODEL, "depth.danger_m": DANGER_M, "depth.warning_m": WARNING_M, "depth.view": VIEW,
                       "depth.tones": TONES})

# %%
#@title 3. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %% [markdown]
# ## What comes out
#
# - **The clip**: each object with its distance and the seconds to a collision, in the colour of its zone; the radar shows the
#   objects from above.
# - **Tables** beside each result: `NAME.objects.csv` with every object in every frame, `NAME.alerts.csv` with the alerts.
# - **The report** says which depth model ran. Where there was none, it names the command that fetches it.

# %% help
