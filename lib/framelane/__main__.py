"""``python -m framelane`` is the command ``framelane``."""

from framelane.cli import main

if __name__ == "__main__":
    main()
