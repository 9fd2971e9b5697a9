"""The catalog: which LoRA files exist, which belong together, and for which model."""
