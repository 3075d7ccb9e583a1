"""The real command line, with the test processors registered: ``python -m support.cli run averager …``."""

import support.processors  # noqa: F401
from framelane.cli import main

if __name__ == "__main__":
    main()
