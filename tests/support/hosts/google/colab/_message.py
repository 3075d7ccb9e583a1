"""google/colab/_message.py: requests to the browser. One that answers with an error raises; one that is not there is None."""

from google.colab import errors


class MessageError(errors.Error):
    pass
