"""The comparison of the engine with its peers: the rounds, and what their figures say."""
