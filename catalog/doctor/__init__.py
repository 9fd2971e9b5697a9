"""What is in a LoRA file, told by its header alone."""
