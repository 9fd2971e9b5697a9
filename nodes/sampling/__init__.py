"""Sampling with two experts. Knows nothing of LoRA files."""
