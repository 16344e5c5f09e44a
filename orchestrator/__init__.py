"""The orchestrator: takes erasure requests in, tells products what to do, keeps the history."""
