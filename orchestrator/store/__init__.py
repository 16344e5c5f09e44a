"""PostgreSQL: the truth, what is derived from it, what is in work, and what is kept with a life of its own."""
