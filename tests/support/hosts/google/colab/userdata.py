"""google/colab/userdata.py: secrets."""

from google.colab import _standin, errors


class NotebookAccessError(Exception):
    def __init__(self, key):
        super().__init__(f"Notebook does not have access to secret {key}")


class SecretNotFoundError(errors.Error):
    def __init__(self, key):
        super().__init__(f"Secret {key} does not exist.")


class TimeoutException(errors.Error):
    def __init__(self, key):
        super().__init__(
            f"Requesting secret {key} timed out. Secrets can only be fetched when running from the Colab UI."
        )


def get(key):
    secrets = _standin.told("secrets", {})
    if secrets == "timeout":
        raise TimeoutException(key)
    found = secrets.get(key)
    if found is None:
        raise SecretNotFoundError(key)
    if not found.get("access", True):
        raise NotebookAccessError(key)
    return found.get("payload", "")
