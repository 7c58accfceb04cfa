"""Where a guest is: symbols of its image, and what the state of its harts says."""
