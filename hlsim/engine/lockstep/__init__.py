"""The engine for minibatches of neurons that are all updated at every tick, which go by compiled loops."""
