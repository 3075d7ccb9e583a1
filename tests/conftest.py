"""What every test and every process that it starts has in common."""

import os

# What somebody measured on their machine must not decide what a test sees.
os.environ["FRAMELANE_MACHINE"] = ""
