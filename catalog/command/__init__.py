"""The commands of `python -m catalog`: a file for each group of them."""
