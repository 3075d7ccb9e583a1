"""The real worker, with the test processors registered: ``python -m support.worker``."""

import support.processors  # noqa: F401
from framelane.jobs.worker import main

if __name__ == "__main__":
    main()
