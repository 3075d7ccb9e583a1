"""google/colab/_message.py: what a request raises that the browser answers with an error."""

from google.colab import errors


class MessageError(errors.Error):
    pass
