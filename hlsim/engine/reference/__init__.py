"""The engine that is obviously right: one SimPy process a neuron, one SimPy event a message."""
