"""Virtio devices on the board: the transport, its queues, and what is behind them (virtio 1.2)."""
