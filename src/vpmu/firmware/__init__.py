"""M mode in Python: what runs an S mode above it, and firmware that plays on the hart's own PMU."""
