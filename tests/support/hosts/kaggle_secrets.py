"""A stand-in for Kaggle's own module (Kaggle/docker-python, patches/kaggle_secrets.py): its names and its exceptions.

``KAGGLE_STANDIN`` (JSON) has the ``secrets`` by name, or ``offline``.
"""

import json
import os


class CredentialError(Exception):
    pass


class BackendError(Exception):
    pass


class ValidationError(Exception):
    pass


class UserSecretsClient:
    def __init__(self):
        if os.getenv("KAGGLE_USER_SECRETS_TOKEN") is None:
            raise CredentialError(
                "A JWT Token is required to use the UserSecretsClient, but none found in environment variable "
                "KAGGLE_USER_SECRETS_TOKEN"
            )

    def get_secret(self, label):
        if label is None or len(label) == 0:
            raise ValidationError("Label must be non-empty.")
        told = json.loads(os.environ.get("KAGGLE_STANDIN", "{}"))
        if told.get("offline"):
            raise ConnectionError("Connection error trying to communicate with service.")
        if label not in told.get("secrets", {}):
            raise BackendError(
                "Unexpected response from the service. Response: {'errors': ['No user secrets exist for kernel id 1 and "
                f"label {label}.'], 'error': {{'code': 5}}, 'wasSuccessful': False}}."
            )
        return told["secrets"][label]
