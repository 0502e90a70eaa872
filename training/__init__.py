"""The training stages: `python -m training STAGE --config run.json --out DIR`."""
