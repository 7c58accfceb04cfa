"""M mode in Python: firmware that plays on the hart's own PMU, for an S mode above it."""
