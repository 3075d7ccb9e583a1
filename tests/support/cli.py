"""The real command line and worker, with the test processors registered: ``python -m support.cli run averager …``."""

import support.processors  # noqa: F401
from framelane.cli import main
from framelane.jobs import executors

if __name__ == "__main__":
    executors.WORKER = "support.worker"
    main()
