"""How far people agree: what is counted, the coefficients, and how sure they are."""
