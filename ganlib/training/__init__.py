"""The alternating loop, exact checkpoints, gradient averaging."""
