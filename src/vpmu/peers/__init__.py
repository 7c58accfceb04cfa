"""Real implementations to compare with: what starts them and what talks to them."""
