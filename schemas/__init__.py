"""The contract between orchestrator and products: messages, codec, sealing, transport types.

Both sides import this package and nothing of each other.
"""
