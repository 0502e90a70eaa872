"""Gates: what a model version must show before it is used."""
