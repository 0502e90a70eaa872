"""Who draws the tokens of responses: our own decoding, or another program's with a copy of the weights."""
