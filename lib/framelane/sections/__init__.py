"""The sections of the settings, a file each: what they are, their defaults and ranges; ``schema`` puts them together."""
