"""Pure functions on tensors: no models, no settings, no logging. Each names its source."""
