"""Runs operations on the network volume for the worker, so that a volume that hangs does not block Node."""
