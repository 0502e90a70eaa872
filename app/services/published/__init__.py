"""Where published models and dataset versions stay: in the home folder, or in a storage with copies in the home."""
