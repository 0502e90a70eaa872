"""What an owner can choose about rounds, gates and stages."""
