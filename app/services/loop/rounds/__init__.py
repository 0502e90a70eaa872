"""Rounds as they turn: their steps, what starts them, what they put into use, and what is told before they start."""
