"""Language models, reward models and critics as torch modules, and how they are loaded, saved and sampled from."""
