"""The sections of the settings that have a file of their own; ``schema`` puts all of them together."""
