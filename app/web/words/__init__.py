"""Numbers, curves and choices as people read them."""
