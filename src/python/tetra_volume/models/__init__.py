"""Models of Hugging Face libraries."""
