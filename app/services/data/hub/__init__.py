"""A dataset version as the folder that the Hugging Face Hub and `datasets.load_dataset(FOLDER)` take as it is."""
