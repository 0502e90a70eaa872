"""Records as token ids and in batches, and the models and files that are opened for it."""
