"""The machine around the harts: memory, devices, snapshots, and the guests that are loaded into it."""
