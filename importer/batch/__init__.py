"""Many directories in one command: what is found, what is meant, and the workers that import it."""
