"""The engine whose loop over ticks is compiled, for any mix of neurons, without minibatches."""
