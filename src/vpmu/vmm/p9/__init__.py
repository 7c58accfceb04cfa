"""A folder of the host for a guest: a server of 9P2000.L that does not lead out of it."""
