# ---
# jupyter:
#   framelane:
#     parts: notebook,faceswap
# ---

# %% [markdown]
# # Face swap: with consent, labelled and signed
#
# The face of an adult who agreed replaces the faces of every clip of a folder; each frame says that it was generated, and the
# file carries signed content credentials.
#
# ![A drawn face, a clip of another, and the result with its label; nobody looks like that](docs/notebooks/face_swap.jpg)
#
# **Colab's free tier does not allow this.** Google lists the making of deepfakes among what its free runtimes must not be used
# for. Use a paid plan, Kaggle, or a computer of your own: there this notebook runs in JupyterLab or VS Code as it is.
#
# Press “Run all” (Ctrl+F9). Without a picture and a consent nothing is swapped: the cell says what is missing, and waits for it.

# %% first cell

# %%
#@title 2. Run { display-mode: "form" }
#@markdown The face to put in: a picture, or a folder of pictures of the same person.
SOURCE_FACE = ""  #@param {type:"string"}
#@markdown Who agreed to this use of the face, and on what ground, as in “Ada Example, signed release of 2026-03-01”. With it you
#@markdown declare that the person is an adult. It is kept in the report and in a log on this machine.
CONSENT = ""  #@param {type:"string"}
#@markdown A folder of clips; demo is the clip that comes with framelane. An empty output is a folder of its own: in Drive where
#@markdown the clips are there, else in this session.
INPUT = "demo"  #@param {type:"string"}
OUTPUT = ""  #@param {type:"string"}
MODE = "fast"  #@param ["fast", "balanced", "quality"]
#@markdown Which faces: all, the largest, or the one that REFERENCE names (a picture, or 12.5#0: the first from the left at 12.5 s).
FACES = "many"  #@param ["many", "largest", "reference"]
REFERENCE = ""  #@param {type:"string"}
#@markdown Without widgets the cell starts at once and prints lines.
WIDGETS = True  #@param {type:"boolean"}
from framelane import notebook

notebook.run("faceswap", input=INPUT, output=OUTPUT, mode=MODE, widgets=WIDGETS, consent=CONSENT,
             settings={"faceswap.source": SOURCE_FACE, "faceswap.select": FACES, "faceswap.reference": REFERENCE})

# %%
#@title 3. The results again { display-mode: "form" }
from framelane import notebook

notebook.results(OUTPUT)

# %% [markdown]
# ## What every result carries
#
# - **Consent**: who agreed and on what ground, in the report and in a log that only grows.
# - **A content check** of the picture and of the clip, before any work.
# - **A visible label** on every frame, metadata, and signed content credentials (C2PA), read back before the file gets its name.

# %% help
