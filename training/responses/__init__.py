"""What policies write: sampled, as texts, and how likely they are."""
