"""Training: placement on a device, optimizer and schedule, weight averaging, the loop, checkpoints."""
