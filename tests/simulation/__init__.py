"""A seeded, deterministic simulation of orchestrator, log and products.

``python -m tests.simulation --seed N`` replays one seed and tells what happened; ``--seeds N`` runs many. The engine is
the real one; store, log, products and clock are models that crash, freeze, lose, repeat and delay as the seed says.
"""
