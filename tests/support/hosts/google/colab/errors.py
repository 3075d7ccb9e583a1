"""google/colab/errors.py: the base of Colab's own errors."""


class Error(Exception):
    pass


class AuthorizationError(Error):
    pass
