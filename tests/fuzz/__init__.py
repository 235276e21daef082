"""A standing harness: inputs such as a stranger might send, for every reader that they reach.

An input of a kind follows from its number alone. Each is written into a folder of its own, beside others that nothing
may touch, and read in a worker process within limits of time and memory. It must be read, or refused by one line.
"""
