"""Many directories in one command: find them, select from them, and import them by workers."""
