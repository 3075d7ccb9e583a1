"""Folders of clips: finding them, planning them, and getting them done although the session dies."""
