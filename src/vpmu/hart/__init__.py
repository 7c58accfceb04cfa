"""Harts: what their instructions mean, and the engines that run them."""
