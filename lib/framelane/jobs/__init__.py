"""A folder of clips as one batch that survives its session: what is to do, what is done, and who does it."""
