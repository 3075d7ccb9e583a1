"""``python -m framelane.cli`` is the command ``framelane``."""

from framelane.cli import main

main()
