"""A run that can be walked in both directions: snapshots that share what did not change, and runs between."""
