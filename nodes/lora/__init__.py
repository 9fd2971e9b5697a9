"""LoRA files onto models. Knows nothing of sampling."""
