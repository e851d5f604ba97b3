"""What is benchmarked, by letter."""
