"""Time and memory, beside the peers."""
