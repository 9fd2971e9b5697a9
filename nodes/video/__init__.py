"""Clip after clip: what is asked, what lies on disk, and the video of it. Knows no LoRA files."""
