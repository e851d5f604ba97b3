"""The engine for networks of which every neuron is updated at every tick, with compiled loops."""
