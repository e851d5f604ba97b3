"""The engine for every network: each phase of a tick is a few torch calls over all neurons that are due."""
