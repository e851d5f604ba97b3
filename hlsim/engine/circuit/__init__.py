"""A network on a device: constants and state as tensors, edges in the form in which each is computed best."""
