"""The installer of framelane: looks, installs what is missing, and verifies by doing. Standard library only.

It runs from a clone (``python colab_setup/install.py``) and out of the wheel, which carries it as
``framelane.colab_setup`` (``python -m framelane.colab_setup.install``): so its modules import each other relatively.
"""
